"""Loading trained checkpoints: what they are, what is in them, and the model they belong to."""
