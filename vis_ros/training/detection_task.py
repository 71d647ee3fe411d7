"""DetectionTask: trains Mask R-CNN and MaskTrack R-CNN on pairs of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vis_ros.evaluation.verdict import Verdict
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import load_model, save_model
from vis_ros.networks.named_weights import resolve
from vis_ros.training.detection_losses import DetectionLosses, Sampling, TrainingTarget
from vis_ros.training.pairs import pair_loader, to_input
from vis_ros.training.pretrained import load_matching_weights, load_pretrained_backbone
from vis_ros.training.train_config import TrainConfig
from vis_ros.training.training_data import build_mixture, model_classes, open_training_sources
from vis_ros.training.training_images import draw_pairs
from vis_ros.training.validation import DetectionValidator


class DetectionTask:
    """A `Task` for detectors.

    first: whether this is the first process, which validates.
    """

    unused_weights = False

    def __init__(self, config: TrainConfig, model: ModelConfig, console: Console, first: bool) -> None:
        self.config = config
        sources = open_training_sources(config, console)
        class_names, note = model_classes(config, sources)
        if note:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        self.mixture = build_mixture(sources, config, class_names)
        self.model = model.with_fields(class_names=class_names)
        self.validator = (
            DetectionValidator(config.validation, config, class_names) if config.validation and first else None
        )

    def build(self) -> MaskRCNN:
        return build_network(self.model)

    def start(self, network: nn.Module) -> str:
        assert isinstance(network, MaskRCNN)
        if self.config.weights:
            return f'{self.config.weights}: {load_matching_weights(network, resolve(self.config.weights))}'
        loaded = load_pretrained_backbone(network, self.config.pretrained)
        return f'{self.config.pretrained or "no pretrained backbone"}: {loaded} tensors loaded'

    def losses(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, MaskRCNN)
        return DetectionLosses(network, Sampling(self.config.sampled_anchors, rois=self.config.sampled_rois))

    def loader(self, steps: int, first: int, rank: int, world: int) -> DataLoader[Any]:
        config = self.config
        return pair_loader(self.mixture, config.pairs, steps, config.workers, first=first, rank=rank, world=world)

    def to_input(
        self, images: list[Tensor], truth: list[TrainingTarget], scale: float, progress: float, device: torch.device
    ) -> tuple[Any, ...]:
        batch = to_input(images, truth, self.model, scale, device)
        return batch.images, batch.targets, batch.sizes

    def save(self, network: nn.Module, path: Path) -> None:
        assert isinstance(network, MaskRCNN)
        save_model(network, path)

    def verdicts(self, best: Path, device: torch.device) -> Iterator[tuple[str, Verdict]]:
        if self.validator is not None and self.config.weights:
            before, after = (load_model(path).to(device).eval() for path in (resolve(self.config.weights), best))
            yield from self.validator.compare(before, after)

    def describe(self) -> str:
        return f'{self.model.architecture}, {len(self.model.class_names)} classes'

    def draw(self, images: list[Tensor], truth: list[TrainingTarget]) -> NDArray[np.uint8]:
        return draw_pairs(images, truth, self.model.class_names)
