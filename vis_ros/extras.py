"""Optional parts of the package, the libraries each of them needs, and what to do where one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

EXTRAS: Mapping[str, tuple[str, ...]] = {
    'torch': ('torch', 'torchvision', 'timm'),
    'train': ('torch', 'torchvision', 'timm'),
    'export': ('torch', 'torchvision', 'timm', 'onnx', 'onnxruntime'),
}
"""Extra of the distribution -> modules without which it does nothing, called as the distributions that bring them."""


def missing(extra: str) -> tuple[str, ...]:
    """Which modules of an extra are not installed. None is imported."""
    return tuple(module for module in EXTRAS[extra] if find_spec(module) is None)


def require(extra: str, purpose: str) -> None:
    """Raise ValueError, saying what to install, where modules of an extra are not installed.

    Args:
        extra: a key of EXTRAS.
        purpose: what needs them, as the subject of a sentence.
    """
    absent = missing(extra)
    if absent:
        raise ValueError(
            f'{purpose} needs {", ".join(absent)}, not installed here: '
            f'pip install {" ".join(absent)}, or vis_ros with its extra [{extra}]'
        )
