"""Learning: the sequence PPO, training runs, evaluation and run folders."""

from agents.plot_backend import leave_out_malformed_time, leave_out_unknown_backend

leave_out_unknown_backend()
leave_out_malformed_time()
