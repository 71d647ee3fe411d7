"""Mask propagation: follow objects through a video from one mask of each. One folder for each published system."""
