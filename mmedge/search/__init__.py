"""Decisions that need measuring: what is compressed stays so only where it is right and faster."""
