"""PropagationTask: trains mask propagation networks on clips with a reference frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vis_ros.evaluation.verdict import Verdict
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import build_propagation_network, save_propagation
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.training.clip_loader import clip_loader, to_clip_input
from vis_ros.training.clips import ENLARGEMENT, Clips, ClipSettings
from vis_ros.training.mixture import Mixture
from vis_ros.training.pretrained import load_pretrained_encoders, load_propagation_weights
from vis_ros.training.propagation_validation import PropagationValidator
from vis_ros.training.train_config import DataSource, TrainConfig
from vis_ros.training.training_data import open_training_sources
from vis_ros.training.training_images import draw_clips


class PropagationTask:
    """A `Task` for mask propagation networks.

    first: whether this is the first process, which validates.
    """

    unused_weights = True  # a batch without objects gives no gradient to some parts

    def __init__(self, config: TrainConfig, model: PropagationConfig, console: Console, first: bool) -> None:
        self.config, self.model = config, model
        sources = open_training_sources(
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
            return f'{self.config.weights}: {load_propagation_weights(network, resolve(self.config.weights))}'
        loaded = load_pretrained_encoders(network, self.model, self.config.pretrained)
        return f'{self.config.pretrained or "no pretrained backbone"}: {loaded} tensors loaded'

    def losses(self, network: nn.Module) -> nn.Module:
        return PROPAGATION_SYSTEMS[self.model.architecture].losses(network)

    def loader(self, steps: int, first: int, rank: int, world: int) -> DataLoader[Any]:
        config = self.config
        return clip_loader(self.clips, config.pairs, steps, config.workers, first=first, rank=rank, world=world)

    def to_input(
        self, images: Tensor, truth: Tensor, scale: float, progress: float, device: torch.device
    ) -> tuple[Any, ...]:
        return *to_clip_input(images, truth, self.model, scale, device), progress

    def save(self, network: nn.Module, path: Path) -> None:
        save_propagation(network, path)

    def verdicts(self, best: Path, device: torch.device) -> Iterable[tuple[str, Verdict]]:
        return ()  # J alone is no Evaluation

    def describe(self) -> str:
        return f'{self.model.architecture}, clips of {self.config.clip_frames} frames'

    def draw(self, images: Tensor, truth: Tensor) -> NDArray[np.uint8]:
        return draw_clips(images, truth)


def _exhaustive(source: DataSource) -> DataSource:
    """For clips, pixels on no object are background: the reference frame defines the objects to segment."""
    return replace(source, exhaustive=True) if source.kind == 'videos' else source


def _larger(size: tuple[int, int]) -> tuple[int, int]:
    """The size of the videos that clips are cropped from."""
    return round(size[0] * ENLARGEMENT), round(size[1] * ENLARGEMENT)
