"""Detection with PyTorch."""
