"""Proof that the engines are equal to the model: per component, end to end, and by its task."""
