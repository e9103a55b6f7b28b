"""Gymnasium-Robotics' kitchen, several tasks in one episode."""
