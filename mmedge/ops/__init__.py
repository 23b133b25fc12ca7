"""Operators of our own: the schema as data, a readable reference, a body of ONNX operators."""
