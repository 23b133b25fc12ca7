"""Quantization: number formats, calibration, placement of Q/DQ, and what it cost."""
