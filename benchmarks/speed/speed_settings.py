"""SpeedSettings: what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SpeedSettings:
    """One measurement. Engine, precision, input_size (height, width) and threads are those of `load_engine`.

    image_size: (height, width) of the camera images in pixels.
    cameras: number of cameras, each with its own tracks. Their images are processed in turn, as in the node.
    detections: number of detections in every image, if the network can give that many; 0: what it finds at its own
        threshold.
    identities: number of tracks in the memory of every camera from the start; 0: those of the images.
    frames: number of measured images of each camera.
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
    def from_dict(cls, values: Mapping[str, Any]) -> SpeedSettings:
        """The settings of plain JSON types, as `json.loads` returns them."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
