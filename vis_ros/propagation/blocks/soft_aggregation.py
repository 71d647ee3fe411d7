"""Soft aggregation: merges masks of several objects that were predicted independently of each other."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-7


def soft_aggregation(background: Tensor, objects: Tensor) -> Tensor:
    """Probabilities (M + 1, h, w), background first, that sum to 1 at each pixel (RGMP, Oh et al. 2018, equation 1).

    p_m = odds(q_m) / sum_j odds(q_j) with odds(q) = q / (1 - q) of the clamped probabilities q: the softmax of their
    logits.

    Args:
        background: (h, w), probability that a pixel is on none of the objects.
        objects: (M, h, w), probability of each object on its own.
    """
    found = torch.cat((background[None], objects)).float()
    return torch.logit(found, _EPSILON).softmax(0)
