"""kuai compared with PyTorch."""
