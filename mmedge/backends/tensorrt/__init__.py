"""TensorRT and TensorRT-RTX: engines for NVIDIA GPUs, from the graphs of every other backend."""
