"""Profiling: latency with intervals, memory, energy, and what disturbed the machine meanwhile."""
