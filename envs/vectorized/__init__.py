"""Many environments stepped together: in threads, processes or one after the other, checked and restored exactly."""
