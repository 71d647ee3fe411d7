"""Bootstrapped cross entropy: a loss over the hardest pixels only."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def bootstrapped_cross_entropy(logits: Tensor, truth: Tensor, known: Tensor, share: float) -> Tensor:
    """Mean cross entropy of the hardest pixels (FEELVOS, Voigtlaender et al. 2019, section 3.6).

    Args:
        logits: (K, H, W), of the background and the objects.
        truth: (K, H, W) bool, exactly one True for each known pixel.
        known: (H, W) bool; other pixels do not count.
        share: of the known pixels that count, in (0, 1].
    """
    losses = functional.cross_entropy(logits.flatten(1).T, truth.byte().max(0).indices.flatten(), reduction='none')
    losses = losses[known.flatten()]
    if len(losses) == 0:
        return logits.sum() * 0
    return losses.topk(max(round(len(losses) * share), 1), sorted=False).values.mean()
