"""A tiny mask propagation network with its losses and its propagator, to stand in for FEELVOS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.propagation.torch_parts import TorchParts


class TinyNetwork(nn.Module):
    """Images (B, 3, H, W) and previous masks (B, H, W) to logits (B, H, W)."""

    def __init__(self, config: PropagationConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = FrameEncoder(config, extra=1)
        self.head = nn.Conv2d(self.encoder.channels[0], 1, 1)

    def forward(self, images: Tensor, previous: Tensor) -> Tensor:
        features = self.encoder(torch.cat((images, previous[:, None].to(images)), 1))[0]
        return functional.interpolate(self.head(features), scale_factor=4, mode='bilinear')[:, 0]


class TinyLosses(nn.Module):
    """Cross entropy of the first object of each clip, from each frame to the next."""

    progress: list[float] = []  # noqa: RUF012  of every call

    def __init__(self, network: TinyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        self.progress.append(progress)
        found = self.network(images[:, 1:].flatten(0, 1), (labels[:, :-1] == 1).flatten(0, 1))
        wanted = labels[:, 1:].flatten(0, 1)
        loss = functional.binary_cross_entropy_with_logits(found, (wanted == 1).to(found), reduction='none')
        return {'mask': loss[wanted != 255].mean()}


class TinyPropagator:
    """Propagates each object on its own; the background is the complement of the largest probability."""

    def __init__(self, parts: TorchParts) -> None:
        self._network: Any = parts.network
        self._masks: dict[int, NDArray[np.float32]] = {}

    @property
    def input_size(self) -> tuple[int, int]:
        return self._network.config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._masks))

    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        assert image.shape[:2] == mask.shape and mask.any()
        self._masks[object_id] = mask.astype(np.float32)

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        config = self._network.config
        pixels = (image[..., ::-1].astype(np.float32) - np.float32(config.mean)) / np.float32(config.std)
        with torch.inference_mode():
            for number, mask in self._masks.items():
                planes = torch.from_numpy(pixels).permute(2, 0, 1)[None], torch.from_numpy(mask)[None]
                self._masks[number] = self._network(*planes).sigmoid()[0].numpy()
        objects = np.stack([self._masks[number] for number in self.object_ids])
        return np.concatenate((1 - objects.max(0, keepdims=True), objects))

    def reset(self) -> None:
        self._masks.clear()


class TinySystem:
    """Stands in for a PropagationSystem."""

    name, config = 'feelvos', FeelvosConfig
    network, losses, propagator = TinyNetwork, TinyLosses, TinyPropagator

    def parts(self, network: nn.Module) -> dict[str, nn.Module]:
        return {}


def use_tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the system 'feelvos' build the tiny classes."""
    monkeypatch.setitem(PROPAGATION_SYSTEMS, 'feelvos', TinySystem())  # type: ignore[arg-type]
