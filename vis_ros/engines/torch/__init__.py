"""The network in PyTorch."""
