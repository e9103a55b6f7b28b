"""Learning: PPO on whole sequences, its buffer and its checks, and imitation."""
