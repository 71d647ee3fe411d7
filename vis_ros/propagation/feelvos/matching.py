"""Global and local matching of pixel embeddings (FEELVOS, sections 3.3 and 3.4), exact and without custom operators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_FAR = 1e9
"""Squared distance that stands for no match: it becomes a distance of 1."""
_QUERIES = 256
"""Pixels that are compared with the whole reference at once, few enough to stay in the cache of a CPU."""
_BLOCK = 8
"""Side of the blocks of local matching."""
_BLOCKS_AT_ONCE = 4
"""Blocks compared at once on a CPU, to stay in its cache; other devices take a row of blocks."""


def distance(squared: Tensor) -> Tensor:
    """Distances in [0, 1] from squared Euclidean distances: 1 - 2 / (1 + exp(|e_p - e_q|^2)) (equation 1)."""
    return 2 * torch.sigmoid(squared) - 1


def global_matching(query: Tensor, references: Sequence[Tensor]) -> Tensor:
    """Distance (K, h, w) of each pixel to the nearest pixel of each object in the reference frame (equation 2).

    Args:
        query: (E, h, w) embeddings of the current frame.
        references: K arrays (N, E), the embeddings of the pixels of each object. The distance to an object without
            pixels is 1.
    """
    with torch.autocast(query.device.type, enabled=False):
        pixels = query.float().flatten(1).T
        norms = (pixels * pixels).sum(1)
        maps = [_nearest(pixels, norms, reference.float()) for reference in references]
    return torch.stack(maps).unflatten(1, query.shape[1:])


def _nearest(pixels: Tensor, norms: Tensor, reference: Tensor) -> Tensor:
    if len(reference) == 0:
        return torch.ones_like(norms)
    others = (reference * reference).sum(1)[None]
    squared = norms.clone()
    for first in range(0, len(pixels), _QUERIES):
        some = slice(first, first + _QUERIES)
        squared[some] += torch.addmm(others, pixels[some], reference.T, alpha=-2).amin(1)
    return distance(squared.clamp(min=0))


def local_matching(query: Tensor, previous: Tensor, masks: Tensor, window: int) -> Tensor:
    """Distance (K, h, w) of each pixel to the nearest pixel around it of each object in the last frame (equation 4).

    The window reaches `window` cells in x and in y. The distance is 1 if an object has no pixel in the window.

    Each block of 8 x 8 pixels is compared with the windows of all its pixels by one matrix product; pairs outside the
    window of the pixel itself are excluded afterwards. This computes distances that are not needed, but takes a tenth
    of the time of shifting the previous frame once for every offset.

    Args:
        query: (E, h, w) embeddings of the current frame.
        previous: (E, h, w) embeddings of the previous frame.
        masks: (K, h, w) bool, the objects in the previous frame.
        window: k of the paper.
    """
    height, width = query.shape[1:]
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    below, right = rows * _BLOCK - height, columns * _BLOCK - width
    padding = (window, window + right, window, window + below)
    side = _BLOCK + 2 * window

    def windows(planes: Tensor, fill: float) -> Tensor:
        """Views (..., rows, columns, side, side) of the windows of all blocks."""
        return functional.pad(planes, padding, value=fill).unfold(-2, side, _BLOCK).unfold(-2, side, _BLOCK)

    with torch.autocast(query.device.type, enabled=False):
        query, previous = query.float(), previous.float()
        padded = functional.pad(query, (0, right, 0, below)).permute(1, 2, 0)
        blocks = padded.unflatten(1, (columns, _BLOCK)).unflatten(0, (rows, _BLOCK)).transpose(1, 2).flatten(2, 3)
        others, norms = windows(previous, 0), windows((previous * previous).sum(0), 0)
        excluded = windows(torch.where(masks, 0.0, _FAR), _FAR)
        outside = outside_window(window, _BLOCK, query.device)
        at_once = _BLOCKS_AT_ONCE if query.device.type == 'cpu' else columns
        nearest = []
        for row in range(rows):
            for first in range(0, columns, at_once):
                some = slice(first, first + at_once)
                candidates = others[:, row, some].flatten(2).transpose(0, 1)
                squared = torch.baddbmm(norms[row, some].flatten(1)[:, None], blocks[row, some], candidates, alpha=-2)
                squared = squared + outside
                nearest.append(torch.stack([(squared + e.flatten(1)[:, None]).amin(2) for e in excluded[:, row, some]]))
        found = torch.cat(nearest, 1).unflatten(2, (_BLOCK, _BLOCK)).unflatten(1, (rows, columns))
        found = found.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return distance((found + (query * query).sum(0)).clamp(min=0))


def outside_window(window: int, block: int, device: torch.device) -> Tensor:
    """(block pixels, window pixels): 0 if the second is in the window of the first, else a very large distance."""
    inside = torch.arange(block, device=device)[:, None]
    around = torch.arange(block + 2 * window, device=device)[None] - window
    near = (inside - around).abs() <= window
    both = near[:, None, :, None] & near[None, :, None, :]
    return torch.where(both.flatten(2).flatten(0, 1), 0.0, _FAR)
