"""The network on an NVIDIA GPU, through TensorRT."""
