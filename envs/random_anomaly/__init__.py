"""Random Anomaly: name the image that was transformed in another way than the rest, from memory."""
