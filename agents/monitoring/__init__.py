"""What is looked at while a training runs: evaluations, figures of the networks, pictures of episodes."""
