"""Constant tensors that are made once for each device."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=512)
def constant(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of a number or of (nested) tuples of numbers, the same one each time: not to be changed.

    A CUDA graph cannot contain the copy to the GPU with which a tensor of numbers begins.
    """
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def constant_like(values: Any, like: Tensor) -> Tensor:
    """`constant` with the type and the device of another tensor."""
    return constant(values, like.dtype, like.device)
