"""The Adroit hand's tasks: the hammer in a version of our own, and what counts as success in all of them."""
