"""Part: what the modules in the parts.py of a system have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

Axes = Mapping[str, tuple[int, ...]]


class Part(Protocol):
    """A stateless module with array inputs and outputs, which torch runs or which is traced to a graph.

    axes: each input of `forward`, in order, with its axes that depend on the image or on the objects.
    """

    @property
    def axes(self) -> Axes: ...

    def __call__(self, *inputs: Tensor) -> Any:
        """One tensor or a tuple of tensors."""
        ...

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        """Inputs for images of a working size (height, width)."""
        ...
