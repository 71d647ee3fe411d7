"""Mask propagation: masks given once are followed through a video. One folder for each published system."""
