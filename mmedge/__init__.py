"""mmedge: from a trained multimodal PyTorch model to verified engines for edge devices."""

__version__ = "0.1.0"
