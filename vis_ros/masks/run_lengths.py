"""The compressed run lengths of COCO files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LONGEST_CODE = 7
"""Characters of one run length: 5 bits each, and no picture has 2**31 pixels."""


def run_lengths(code: str | bytes) -> NDArray[np.int64]:
    """COCO's compressed run lengths, decoded: background first, down the columns.

    A character holds 5 bits from '0' on, lowest first, and a sixth that says 'more follows'; each number from the
    fourth on is the difference to the one two before it (pycocotools, maskApi.c, rleFrString).

    Raises ValueError where the text is no such code.
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
