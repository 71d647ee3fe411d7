"""Constant tensors that are created once per device and reused."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=512)
def constant(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of a number or of (nested) tuples of numbers. It is shared: do not modify it.

    A CUDA graph cannot contain the copy to the GPU that `torch.tensor` makes, so constants are cached.
    """
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def constant_like(values: Any, like: Tensor) -> Tensor:
    """A `constant` with the type and device of another tensor."""
    return constant(values, like.dtype, like.device)
