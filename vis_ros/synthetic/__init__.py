"""Synthetic videos with exact ground truth: composites of object crops and a procedural scene."""
