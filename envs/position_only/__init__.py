"""Control without velocities: what was there before has to be remembered."""
