"""The network on a processor, through OpenVINO."""
