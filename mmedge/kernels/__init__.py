"""Our own CUDA kernels: what there is, how it is compiled, and what a GPU spends on it."""
