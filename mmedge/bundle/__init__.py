"""Writing a bundle: engines, wiring, preprocessing, golden inputs and outputs, and the report."""
