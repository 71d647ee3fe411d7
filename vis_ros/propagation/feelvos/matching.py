"""Global and local matching of pixel embeddings (FEELVOS, sections 3.3 and 3.4), exact, without a custom operator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_FAR = 1e9
"""Squared distance of what must not be matched: its distance is 1."""
_QUERIES = 256
"""Pixels whose distances to all of the reference are held at once: few enough for the cache of a CPU."""
_BLOCK = 8
"""Side of the blocks of local matching."""
_BLOCKS_AT_ONCE = 4
"""On a CPU, for its cache; another device takes a row of blocks."""


def distance(squared: Tensor) -> Tensor:
    """Distances in [0, 1] from squared Euclidean ones: 1 - 2 / (1 + exp(|e_p - e_q|^2)) (equation 1)."""
    return 2 * torch.sigmoid(squared) - 1


def global_matching(query: Tensor, references: Sequence[Tensor]) -> Tensor:
    """Distance (K, h, w) of each pixel to the nearest of each of K objects in the reference frame (equation 2).

    Args:
        query: (E, h, w) embedding of the present frame.
        references: for each object the embeddings (N, E) of its pixels; 1 everywhere for an object without any.
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
    """Distance (K, h, w) of each pixel to the nearest of each object in the previous frame, near it (equation 4).

    Near is at most `window` cells away in x and in y; the distance is 1 where an object has no pixel so near.

    Each block of 8 x 8 pixels is compared with all that is in the window of any of them by one matrix product, and what
    is not in the window of the pixel itself is then left out. Many products are in vain, but a matrix product is so
    much faster than shifting that it takes a tenth of the time of one shift after the other.

    Args:
        query: (E, h, w) embedding of the present frame.
        previous: (E, h, w), of the previous frame.
        masks: (K, h, w) bool, the objects in the previous frame.
        window: k.
    """
    height, width = query.shape[1:]
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    below, right = rows * _BLOCK - height, columns * _BLOCK - width
    padding = (window, window + right, window, window + below)
    side = _BLOCK + 2 * window

    def windows(planes: Tensor, fill: float) -> Tensor:
        """(..., rows, columns, side, side) views."""
        return functional.pad(planes, padding, value=fill).unfold(-2, side, _BLOCK).unfold(-2, side, _BLOCK)

    with torch.autocast(query.device.type, enabled=False):
        query, previous = query.float(), previous.float()
        padded = functional.pad(query, (0, right, 0, below)).permute(1, 2, 0)
        blocks = padded.unflatten(1, (columns, _BLOCK)).unflatten(0, (rows, _BLOCK)).transpose(1, 2).flatten(2, 3)
        others, norms = windows(previous, 0), windows((previous * previous).sum(0), 0)
        excluded = windows(torch.where(masks, 0.0, _FAR), _FAR)
        outside = _outside(window, query.device)
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


def _outside(window: int, device: torch.device) -> Tensor:
    """(block pixels, window pixels): 0 where the second is in the window of the first, else far."""
    inside = torch.arange(_BLOCK, device=device)[:, None]
    around = torch.arange(_BLOCK + 2 * window, device=device)[None] - window
    near = (inside - around).abs() <= window
    both = near[:, None, :, None] & near[None, :, None, :]
    return torch.where(both.flatten(2).flatten(0, 1), 0.0, _FAR)
