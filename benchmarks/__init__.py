"""Measurements of kuai beside NumPy and PyTorch; docs/performance.md says how to read them."""
