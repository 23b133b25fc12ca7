"""From components to ONNX graphs: boundaries, export, passes, wiring."""
