"""The model in this process: transformers on CUDA, MPS or the CPU."""
