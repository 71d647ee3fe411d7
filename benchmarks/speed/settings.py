"""Settings: what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """One measurement. Engine, precision, input_size (height, width) and threads as of `load_engine`.

    image_size: (height, width) of the cameras' images in pixels.
    cameras: how many, each with its own identities; their images are processed in turn, as the node does.
    detections: so many in every image, where the network can; 0: as many as it finds at its own threshold.
    identities: so many in the memory of every camera from the start on; 0: those of the images.
    frames: how many images of each camera are measured.
    """

    weights: str = 'demo'
    engine: str = 'auto'
    precision: str = 'auto'
    input_size: tuple[int, int] | None = None
    image_size: tuple[int, int] = (720, 1280)
    cameras: int = 1
    detections: int = 0
    identities: int = 0
    frames: int = 100
    threads: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Of plain JSON types."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
