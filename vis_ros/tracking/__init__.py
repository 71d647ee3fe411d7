"""Tracking: image and stamp in, `Instances` with track ids out. numpy and OpenCV only."""
