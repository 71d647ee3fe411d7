"""Instance masks: crops, run-length codes, and their encodings in messages.

>>> from vis_ros.masks import decode
>>> mask = decode(bytes([2, 0, 0, 0, 1, 0, 0, 0]), 'rle', 1, 3)
>>> mask
array([[0, 0, 1]], dtype=uint8)
"""

from vis_ros.masks.encodings import ENCODINGS, decode, encode

__all__ = ['ENCODINGS', 'decode', 'encode']
