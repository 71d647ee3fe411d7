"""Greedy non-maximum suppression without a loop over boxes, for graphs of a fixed shape."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_iou(boxes: Tensor) -> Tensor:
    """Intersection over union (..., K, K) of boxes (..., K, 4) with each other; NaN for two empty boxes."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    area = (x1 - x0) * (y1 - y0)
    width = torch.minimum(x1[..., :, None], x1[..., None, :]) - torch.maximum(x0[..., :, None], x0[..., None, :])
    height = torch.minimum(y1[..., :, None], y1[..., None, :]) - torch.maximum(y0[..., :, None], y0[..., None, :])
    intersection = width.clamp(min=0) * height.clamp(min=0)
    return intersection / (area[..., :, None] + area[..., None, :] - intersection)


def greedy_nms(overlapping: Tensor, real: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Which boxes greedy non-maximum suppression keeps, and whether `rounds` were enough.

    With S[i, j] = (j comes before i and overlaps it), the kept set is the one fixed point of
    keep = real and not any_j(S[i, j] and keep[j]). Iterated from keep = real, the first n boxes of every chain of
    suppressions are right after n rounds: the answer is exact as soon as a round changes nothing.

    Args:
        overlapping: (..., K, K) bool, boxes in descending order of score.
        real: (..., K) bool; the others are neither kept nor suppress anything.
        rounds: at least 1.

    Returns:
        keep (..., K) bool, and settled (...) bool: the last round changed nothing.
    """
    count = overlapping.shape[-1]
    earlier = torch.ones(count, count, device=real.device).tril(-1)
    suppressed_by = overlapping.float() * earlier
    start = real.float()[..., None]
    keep, before = start, start
    for _ in range(rounds):
        before = keep
        keep = start * (torch.matmul(suppressed_by, keep) < 0.5).float()
    settled = ((keep - before).abs().amax((-2, -1))) < 0.5
    return keep[..., 0] > 0.5, settled
