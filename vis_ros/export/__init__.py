"""Export of a model to ONNX graphs, which run without torch."""
