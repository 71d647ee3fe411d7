"""Run-length codes of masks: encode, decode, crop to whole image and back, and COCO's compressed strings.

The runs of a mask (height, width) go down its columns, from left to right, and alternate between background and
foreground, background first: COCO's uncompressed RLE. A mask that starts with foreground has a first run of 0 pixels.
Runs are (R,) int64 arrays. Only `encode` needs more than numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Runs = NDArray[np.int64]

_LONGEST_CODE = 7
"""Characters of one compressed run: 5 bits each, and no image has 2**31 pixels."""


def encode(mask: NDArray[Any]) -> Runs:
    """The runs of a mask.

    Args:
        mask: (height, width) of any dtype; every pixel that is not 0 is foreground.

    Returns:
        (R,) run lengths in pixels, which sum to height * width; the last one is 0 only for a mask without pixels.
    """
    import cv2  # here, because decoding needs numpy only; its transpose is ten times as fast as that of numpy

    if not np.size(mask):
        return np.zeros(1, np.int64)
    columns = cv2.transpose(np.not_equal(mask, 0).view(np.uint8)).ravel()
    starts = np.flatnonzero(columns[1:] != columns[:-1])
    bounds = np.zeros(len(starts) + 2 + int(columns[0]), np.int64)
    bounds[1 + columns[0] : -1] = starts
    bounds[1 + columns[0] : -1] += 1
    bounds[-1] = columns.size
    return np.asarray(bounds[1:] - bounds[:-1], np.int64)


def decode(runs: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
    """The (height, width) uint8 mask, 0 or 1, of its runs.

    Raises:
        ValueError: the runs do not sum to height * width pixels, or one is negative.
    """
    lengths = np.asarray(runs)
    total = int(lengths.sum(dtype=np.uint64))
    if total != height * width:
        raise ValueError(
            f'rle mask of height {height} and width {width} needs runs over {height * width} pixels, not over {total}'
        )
    return np.ascontiguousarray(_fill(lengths).reshape(width, height).T)


def decode_window(runs: Runs, height: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Some rows and columns of a mask, (H, W) uint8, 0 or 1.

    Decoding the whole of a large image for a small object costs many times as much.

    Args:
        runs: of the whole mask.
        height: of the whole mask.
        rows: which rows; clipped to the mask.
        columns: which columns; start and stop inside the mask.
    """
    first, last = columns.start * height, columns.stop * height
    ends = np.clip(np.cumsum(runs), first, last)
    lengths = np.diff(ends, prepend=first)
    return np.ascontiguousarray(_fill(lengths).reshape(-1, height)[:, rows].T)


def _fill(lengths: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.arange(len(lengths), dtype=np.uint32).astype(np.uint8) & 1
    return np.repeat(values, lengths)


# --- crop and whole image -----------------------------------------------------------------------------------------


def in_image(runs: Runs, roi: ArrayLike, image_size: tuple[int, int]) -> Runs:
    """The runs of a whole image from those of a crop, by arithmetic on the runs alone.

    Args:
        runs: of the crop, as `encode` gives them.
        roi: (4,) x0 y0 x1 y1, the window of the crop in the image; x1 and y1 exclusive.
        image_size: (height, width).
    """
    height, width = image_size
    x0, y0, _, y1 = np.asarray(roi).tolist()
    bounds = np.cumsum(runs)
    starts, ends = bounds[:-1:2], bounds[1::2]
    if len(starts):
        starts, ends = _pieces_per_column(starts, ends, y1 - y0)
        column = starts // (y1 - y0)
        offset = (x0 + column) * height + y0 - column * (y1 - y0)
        starts, ends = starts + offset, ends + offset
        apart = starts[1:] != ends[:-1]  # pieces touch where the crop is as high as the image
        starts, ends = starts[np.concatenate(([True], apart))], ends[np.concatenate((apart, [True]))]
    changes = np.stack((starts, ends), axis=1).ravel()
    image_runs = np.diff(changes, prepend=0, append=height * width)
    return image_runs[:-1] if len(image_runs) > 1 and image_runs[-1] == 0 else image_runs


def _pieces_per_column(starts: Runs, ends: Runs, height: int) -> tuple[Runs, Runs]:
    """Split foreground intervals [start, end) where they go on in the next column of a crop."""
    first = starts // height
    counts = (ends - 1) // height - first + 1
    before = np.cumsum(counts) - counts
    column = np.arange(counts.sum()) - np.repeat(before - first, counts)
    low, high = column * height, (column + 1) * height
    return np.maximum(np.repeat(starts, counts), low), np.minimum(np.repeat(ends, counts), high)


@dataclass(frozen=True, eq=False)
class MaskRuns:
    """The runs of one mask, computed once for everything that writes it.

    crop: the runs of the crop, as they travel in messages; image: the runs of the whole image, as files have them.
    """

    crop: Runs
    image: Runs

    @classmethod
    def of(cls, mask: NDArray[Any], roi: ArrayLike, image_size: tuple[int, int]) -> MaskRuns:
        """Code a mask that is the crop of its roi x0 y0 x1 y1 in an image of (height, width)."""
        crop = encode(mask)
        return cls(crop, in_image(crop, roi, image_size))


def mask_runs(
    masks: Sequence[NDArray[Any]], rois: NDArray[np.int32], image_size: tuple[int, int]
) -> tuple[MaskRuns, ...]:
    """The runs of all masks of a frame, N crops of their rois (N, 4) in an image of (height, width)."""
    return tuple(MaskRuns.of(mask, roi, image_size) for mask, roi in zip(masks, rois.tolist(), strict=True))


# --- compressed strings -------------------------------------------------------------------------------------------


def compress(runs: Runs) -> bytes:
    """COCO's compressed string of some runs.

    A character holds 5 bits, added to '0', lowest first, and a sixth bit where more characters of the same number
    follow. Each number from the fourth on is the difference to the one two before it (pycocotools, maskApi.c,
    rleToString).
    """
    values = np.asarray(runs, np.int64).copy()
    values[3:] -= runs[1:-2]
    shifts = 5 * np.arange(_LONGEST_CODE)
    digits = (values[:, None] >> shifts) & 31
    rest = values[:, None] >> (shifts + 5)
    is_last = rest == np.where(digits & 16, -1, 0)  # the sign follows from the highest bit
    length = is_last.argmax(1)[:, None] + 1
    place = np.arange(_LONGEST_CODE)
    characters = digits + np.where(place + 1 < length, 32, 0) + 48
    return characters[place < length].astype(np.uint8).tobytes()


def decompress(code: str | bytes) -> Runs:
    """The runs of COCO's compressed string, see `compress`.

    Raises:
        ValueError: the text is no such code; the message says what it has, to be put after "it".
    """
    data = np.frombuffer(code.encode('latin-1', 'replace') if isinstance(code, str) else code, np.uint8)
    if not len(data):
        return np.zeros(0, np.int64)
    bits = data.astype(np.int64) - 48
    if bits.min() < 0 or bits.max() > 63:
        raise ValueError(f'has the character {chr(data[(bits < 0) | (bits > 63)][0])!r}, which no code has')
    last = bits & 32 == 0
    ends = np.flatnonzero(last)
    if not last[-1]:
        raise ValueError('breaks off in the middle of a run length')
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_CODE:
        raise ValueError(f'has a run length of {lengths.max()} characters')
    places = np.arange(len(bits)) - np.repeat(starts, lengths)
    values = np.add.reduceat((bits & 31) << (5 * places), starts)
    values -= np.where(bits[ends] & 16, np.int64(1) << (5 * lengths), 0)
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values
