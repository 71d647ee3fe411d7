"""Detection on the CPU with OpenVINO."""
