"""Learning: the sequence PPO, training runs, evaluation and run folders."""
