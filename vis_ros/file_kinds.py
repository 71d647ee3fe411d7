"""Kinds of files that are given by mistake, or that another program reads: recognized by their content."""

from __future__ import annotations

import re
from pathlib import Path

_READ_BYTES = 2048

_ARCHIVE = 'unpack it first'
_NOT_DOWNLOADED = 'the file itself was not downloaded'
_CONVERT_IMAGE = 'convert it to PNG or JPEG'

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b'#ROSBAG V', 'a ROS 1 bag; convert it: rosbags-convert --src FILE --dst FOLDER'),
    (b'version https://git-lfs', f'a Git LFS pointer: {_NOT_DOWNLOADED}. Run git lfs pull'),
    (b'PK\x03\x04', f'a ZIP archive; {_ARCHIVE}'),
    (b'\x1f\x8b', f'compressed with gzip; {_ARCHIVE}'),
    (b'BZh', f'compressed with bzip2; {_ARCHIVE}'),
    (b'\xfd7zXZ\0', f'compressed with xz; {_ARCHIVE}'),
    (b'7z\xbc\xaf\x27\x1c', f'a 7z archive; {_ARCHIVE}'),
    (b'Rar!\x1a\x07', f'a RAR archive; {_ARCHIVE}'),
    (b'\x28\xb5\x2f\xfd', 'compressed with zstd; unpack it: zstd -d FILE'),
    (b'\x89HDF\r\n\x1a\n', 'an HDF5 file, which is not read; export its images to a folder'),
    (b'\x93NUMPY', 'a NumPy array, which is not read; write its images to a folder'),
    (b'\x89MCAP0\r\n', 'an .mcap bag'),
    (b'SQLite format 3\0', 'an SQLite database'),
    (b'%PDF', 'a PDF document'),
    (b'\xff\x0a', f'a JPEG XL image; {_CONVERT_IMAGE}'),
    (b'\0\0\0\x0cJXL ', f'a JPEG XL image; {_CONVERT_IMAGE}'),
    (b'\x76\x2f\x31\x01', f'an OpenEXR image; {_CONVERT_IMAGE}'),
    (b'\xd4\xc3\xb2\xa1', 'a network capture (pcap); record the topics with `ros2 bag record`'),
    (b'\x0a\x0d\x0d\x0a', 'a network capture (pcapng); record the topics with `ros2 bag record`'),
)
_BRANDS = {
    **dict.fromkeys((b'heic', b'heix', b'hevc', b'mif1', b'msf1'), f'a HEIC image; {_CONVERT_IMAGE}'),
    **dict.fromkeys((b'avif', b'avis'), f'an AVIF image; {_CONVERT_IMAGE}'),
}
"""The brand in an ISO media file -> its kind, for images; all other brands are videos."""


def foreign_kind(path: Path) -> str:
    """What a file is and what to do with it, in words that follow 'is'; '' for an unknown kind or one of our own.

    >>> foreign_kind(Path('drive.bag'))  # doctest: +SKIP
    'a ROS 1 bag; convert it: rosbags-convert --src FILE --dst FOLDER'
    """
    try:
        with path.open('rb') as file:
            start = file.read(_READ_BYTES)
    except OSError:
        return ''
    return foreign_content(start).replace('FILE', str(path))


def foreign_content(start: bytes) -> str:
    """As `foreign_kind`, from the first bytes of a file, with FILE in place of its name."""
    if not start:
        return 'empty: it has no bytes'
    if not start.strip(b'\0'):
        return 'full of zeros: copying or downloading it failed'
    if start[257:262] == b'ustar':
        return f'a tar archive; {_ARCHIVE}'
    if start[4:8] == b'ftyp' and start[8:12] in _BRANDS:
        return _BRANDS[start[8:12]]
    if re.match(rb'\s*(<!doctype html|<html|<head)', start, re.IGNORECASE):
        return f'an HTML page: {_NOT_DOWNLOADED}. Download it from the link that starts the download'
    if re.match(rb'\s*<\?xml', start):
        return 'an XML file'
    return next((kind for magic, kind in _STARTS if start.startswith(magic)), '')
