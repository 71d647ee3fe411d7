"""Export of trained networks as static ONNX graphs."""
