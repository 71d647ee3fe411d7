"""Soft aggregation: the masks of several objects, each found on its own, made to share every pixel."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-7


def soft_aggregation(background: Tensor, objects: Tensor) -> Tensor:
    """Probabilities (M + 1, h, w), background first, that sum to 1 in each pixel (RGMP, section 3.3, equation 1).

    p_m = odds(q_m) / sum over j of odds(q_j), with odds(q) = q / (1 - q) of the clamped probabilities q of the
    background and of the objects: the softmax of their logits.

    Args:
        background: (h, w), the probability that a pixel is on none of the objects.
        objects: (M, h, w), the probability of each object, seen alone.
    """
    found = torch.cat((background[None], objects)).float()
    return torch.logit(found, _EPSILON).softmax(0)
