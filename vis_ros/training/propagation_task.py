"""PropagationTask: the networks that carry masks along, trained on clips with a reference frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import build_propagation_network, save_propagation
from vis_ros.training.clip_loader import clip_loader, to_clip_input
from vis_ros.training.clips import ENLARGEMENT, Clips, ClipSettings
from vis_ros.training.mixture import Mixture
from vis_ros.training.pretrained import start_from_propagation, start_propagation
from vis_ros.training.propagation_validation import PropagationValidator
from vis_ros.training.train_config import DataSource, TrainConfig
from vis_ros.training.training_data import open_sources
from vis_ros.training.training_pictures import clips_picture

LOSSES: Mapping[str, tuple[str, str]] = {
    'maskrnn': ('vis_ros.propagation.maskrnn.losses', 'MaskRnnLosses'),
    'rgmp': ('vis_ros.propagation.rgmp.losses', 'RgmpLosses'),
    'pts': ('vis_ros.propagation.pts.losses', 'PtsLosses'),
    'feelvos': ('vis_ros.propagation.feelvos.losses', 'FeelvosLosses'),
}
"""Architecture -> module and class of its losses: built from the network, called with images (B, T, 3, H, W), labels
(B, T, H, W) and the progress of the run."""


class PropagationTask:
    """A Task. first: whether this process validates."""

    unused_weights = True  # a clip in which all objects are lost does not reach every part

    def __init__(self, config: TrainConfig, model: PropagationConfig, console: Console, first: bool) -> None:
        self.config, self.model = config, model
        sources = open_sources(
            replace(config, data=tuple(map(_exhaustive, config.data))), console, _larger(config.size)
        )
        mixture = Mixture(
            [(each.weight, source.videos) for each, source in zip(config.data, sources, strict=True)], config.seed
        )
        self.clips = Clips(
            mixture, ClipSettings(config.size, config.clip_frames, config.clip_objects, config.clip_stride)
        )
        self.validator = (
            PropagationValidator(config.validation, model.input_size) if config.validation and first else None
        )

    def build(self) -> nn.Module:
        return build_propagation_network(self.model)

    def start(self, network: nn.Module) -> str:
        if self.config.weights:
            return f'{self.config.weights}: {start_from_propagation(network, resolve(self.config.weights))}'
        taken = start_propagation(network, self.model, self.config.pretrained)
        return f'{self.config.pretrained or "no pretrained backbone"}: {taken} tensors taken'

    def losses(self, network: nn.Module) -> nn.Module:
        module, name = LOSSES[self.model.architecture]
        losses: nn.Module = getattr(import_module(module), name)(network)
        return losses

    def loader(self, steps: int, first: int, rank: int, world: int) -> DataLoader[Any]:
        config = self.config
        return clip_loader(self.clips, config.pairs, steps, config.workers, first=first, rank=rank, world=world)

    def to_input(
        self, images: Tensor, truth: Tensor, scale: float, progress: float, device: torch.device
    ) -> tuple[Any, ...]:
        return *to_clip_input(images, truth, self.model, scale, device), progress

    def save(self, network: nn.Module, path: Path) -> None:
        save_propagation(network, path)

    def describe(self) -> str:
        return f'{self.model.architecture}, clips of {self.config.clip_frames} frames'

    def picture(self, images: Tensor, truth: Tensor) -> NDArray[np.uint8]:
        return clips_picture(images, truth)


def _exhaustive(source: DataSource) -> DataSource:
    """Of videos every pixel that is on no object is background: the reference tells which objects are wanted."""
    return replace(source, exhaustive=True) if source.kind == 'videos' else source


def _larger(size: tuple[int, int]) -> tuple[int, int]:
    """The size of videos from which clips are cut."""
    return round(size[0] * ENLARGEMENT), round(size[1] * ENLARGEMENT)
