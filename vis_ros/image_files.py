"""Image files: which files are images, and in which order their names come."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.jpe', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
"""Suffixes of image files, in lower case; all of them can be read by OpenCV."""

_OTHER_IMAGES = ('.gif', '.heic', '.heif', '.avif', '.jxl', '.jp2', '.exr', '.hdr', '.dng', '.cr2', '.nef', '.raw')
VIDEO_SUFFIXES = (
    *('.mp4', '.mov', '.m4v', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.ts', '.wmv', '.h264', '.h265', '.bag'),
)
"""Suffixes of video files and of ROS 1 bags, in lower case."""

OTHER_FRAMES = (*_OTHER_IMAGES, *VIDEO_SUFFIXES)
"""Suffixes of files that hold images too, but are not read as part of a folder of images."""


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden: a program put it there for itself, as macOS does with '._1.jpg'."""
    return path.name.startswith('.')


def is_image(path: Path) -> bool:
    """Whether a file is a JPEG or PNG by its first bytes, whatever it is called."""
    try:
        with path.open('rb') if path.is_file() else BytesIO() as file:
            return file.read(8).startswith((b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'))
    except OSError:  # a file of another user
        return False


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key to sort names by, in which digits compare as numbers: frame 2 comes before frame 10. Equal names (1 and 01)
    keep one order on every disk.

    >>> sorted(['frame10', 'frame2'], key=natural_order)
    ['frame2', 'frame10']
    """
    parts = [(int(part), '') if part.isdecimal() else (-1, part.lower()) for part in re.split(r'(\d+)', name)]
    return parts, name
