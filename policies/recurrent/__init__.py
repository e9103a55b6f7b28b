"""The sparse recurrent layer: six weight blocks iterated over time, by compiled kernels on the CPU."""
