"""What a GPU can do with the networks of vis_ros: `python -m benchmarks.gpu`."""
