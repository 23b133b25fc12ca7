"""Float16 and bfloat16 in the graph: what computes in them, what stays float32, and why."""
