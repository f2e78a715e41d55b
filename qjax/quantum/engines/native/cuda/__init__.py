"""What NVIDIA's GPUs have of their own: how kernels are written, compiled, launched, and shared among threads."""
