"""Detection on an NVIDIA GPU with TensorRT or TensorRT-RTX."""
