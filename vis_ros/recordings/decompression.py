"""Decompress parts of a bag with a limit: what a few bytes claim to unpack to is never believed."""

from __future__ import annotations

from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import zstandard

LARGEST_PART = 1 << 28
"""Largest number of bytes of a decompressed chunk or message. Chunks of recorders have some MB."""

_LARGEST_RATIO = 200
"""A compressed file may unpack to this many times its size, and to LARGEST_PART bytes in any case."""

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_BLOCK = 4096  # bytes, which unpack to 128 MB at most


def decompress(data: bytes, compression: str, size: int | None = None) -> bytes:
    """Unpack bytes.

    Args:
        data: compressed bytes.
        compression: '', 'lz4' or 'zstd'.
        size: number of bytes that they unpack to, if known.

    Raises:
        ValueError: they do not unpack to this number, or to more than LARGEST_PART.
    """
    limit = LARGEST_PART if size is None else size
    if limit > LARGEST_PART:
        raise ValueError(f'a chunk of {len(data)} bytes claims to unpack to {size}; the limit is {LARGEST_PART}')
    if compression == 'zstd':
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            unpacked = stream.read(limit + 1)
    elif compression == 'lz4':
        unpacked = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=limit + 1)
    elif not compression:
        unpacked = data
    else:
        raise ValueError(f'the compression {compression!r} is unknown; known are lz4 and zstd')
    if len(unpacked) > limit or len(unpacked) < (size or 0):
        found = f'more than {limit}' if len(unpacked) > limit else str(len(unpacked))
        raise ValueError(f'a part of {len(data)} bytes unpacks to {found} bytes, expected {size or "less"}')
    return unpacked


def decompress_file(source: Path, target: Path) -> None:
    """Unpack a file that zstd has compressed.

    Raises:
        ValueError: it is damaged, or unpacks to an implausible size.
    """
    limit = max(LARGEST_PART, _LARGEST_RATIO * source.stat().st_size)
    written = 0
    frame = zstandard.ZstdDecompressor().decompressobj()
    with source.open('rb') as packed, target.open('wb') as file:
        try:
            while block := packed.read(_BLOCK):
                while block:
                    if frame.eof:
                        frame = zstandard.ZstdDecompressor().decompressobj()
                    written += file.write(frame.decompress(block))
                    block = frame.unused_data if frame.eof else b''
                if written > limit:
                    raise ValueError(f'{source} unpacks to more than {limit} bytes, {_LARGEST_RATIO} times its size')
        except zstandard.ZstdError as error:
            raise ValueError(f'{source} cannot be decompressed: {error}') from error
    if not frame.eof:
        raise ValueError(f'{source} breaks off: copying or compressing it failed. `zstd -d` unpacks what is left')
