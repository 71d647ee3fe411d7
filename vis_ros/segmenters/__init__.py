"""Segmenters: one object a camera, image and stamp in, `Instances` with identities out."""
