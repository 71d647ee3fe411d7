"""Greedy non-maximum suppression without a loop over boxes, for graphs of fixed shapes."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_nms(overlapping: Tensor, real: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Which boxes greedy non-maximum suppression keeps, and whether the iteration converged.

    With S[i, j] = (j has a higher score than i and overlaps it), the kept set is the only fixed point of
    keep[i] = real[i] and not any_j(S[i, j] and keep[j]). The iteration starts from keep = real. After n rounds the
    first n boxes of each chain of suppressions are final, so the result is exact once a round changes nothing.

    Args:
        overlapping: (..., K, K) bool, for boxes in descending order of score.
        real: (..., K) bool; other boxes are neither kept nor suppress any box.
        rounds: number of iterations, at least 1.

    Returns:
        keep (..., K) bool, and converged (...) bool: the last round changed nothing.
    """
    count = overlapping.shape[-1]
    earlier = torch.ones(count, count, device=real.device).tril(-1)
    suppressed_by = overlapping.float() * earlier
    start = real.float()[..., None]
    keep, previous = start, start
    for _ in range(rounds):
        previous = keep
        keep = start * (torch.matmul(suppressed_by, keep) < 0.5).float()
    converged = ((keep - previous).abs().amax((-2, -1))) < 0.5
    return keep[..., 0] > 0.5, converged
