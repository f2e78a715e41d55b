"""Kernels for NVIDIA's GPUs: how they are written, compiled and launched, and how threads divide their work."""
