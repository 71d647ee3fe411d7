"""The label maps of training clips: 0 background, 1 to M objects, UNKNOWN."""

UNKNOWN = 255
"""Label of pixels that no loss counts: beyond the image, in crowds, on objects too small to be labeled."""
