"""Pairs of a key frame and a reference frame as tensors: a Mixture behind a torch DataLoader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vis_ros.networks.model_config import ModelConfig
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.training.detection_losses import TrainingTarget
from vis_ros.training.mixture import Mixture
from vis_ros.training.sample_loader import numbered_loader

_DIVISOR = 32


class PairDataset(Dataset[tuple[LabeledFrame, LabeledFrame]]):
    """The pairs of a mixture by number; a number always gives the same pair."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture

    def __getitem__(self, index: int) -> tuple[LabeledFrame, LabeledFrame]:
        return self._mixture.pair(index)


def pair_loader(
    mixture: Mixture, pairs: int, steps: int, workers: int, *, first: int = 0, rank: int = 0, world: int = 1
) -> DataLoader[Any]:
    """Batches of pairs, always in the same order.

    Args:
        mixture: where the pairs come from.
        pairs: in one batch.
        steps: number of batches.
        workers: processes that make pairs; 0 makes them in this one.
        first: number of the first pair of the first step, counted over all processes.
        rank: of this process.
        world: number of processes, which share the pairs of a step without overlap.
    """
    return numbered_loader(PairDataset(mixture), _collate, pairs, steps, workers, first=first, rank=rank, world=world)


def _collate(pairs: list[tuple[LabeledFrame, LabeledFrame]]) -> tuple[list[Tensor], list[TrainingTarget]]:
    """Images (H, W, 3) uint8 and their targets: all key frames first, then all reference frames."""
    frames = [_to_tensors(frame) for frame in (*(key for key, _ in pairs), *(reference for _, reference in pairs))]
    return [image for image, _ in frames], [target for _, target in frames]


def _to_tensors(frame: LabeledFrame) -> tuple[Tensor, TrainingTarget]:
    target = TrainingTarget(
        boxes=torch.from_numpy(frame.boxes()),
        labels=torch.from_numpy(frame.class_ids.astype(np.int64)) + 1,
        object_ids=torch.from_numpy(frame.object_ids.astype(np.int64)),
        masks=torch.from_numpy(frame.masks.astype(np.uint8)),
        ignored=None if frame.ignored is None else torch.from_numpy(frame.ignored.astype(np.uint8)),
    )
    return torch.from_numpy(np.ascontiguousarray(frame.image)), target


@dataclass(frozen=True, eq=False)
class Batch:
    """B pairs: padded images (2 B, 3, H, W), their targets, and the (height, width) of each image before padding."""

    images: Tensor
    targets: list[TrainingTarget]
    sizes: list[tuple[int, int]]


def to_input(
    images: list[Tensor], targets: list[TrainingTarget], config: ModelConfig, scale: float, device: torch.device
) -> Batch:
    """Resize, normalize and pad the images of a batch.

    Args:
        images: (H, W, 3) uint8 BGR, of any sizes.
        targets: one for each image.
        config: mean and std of the network.
        scale: resize factor.
        device: of the result.

    Returns:
        the batch; zeros pad the images at the right and at the bottom, up to the largest one and a multiple of 32.
    """
    sizes = [tuple(max(round(side * scale), 1) for side in image.shape[:2]) for image in images]
    height, width = (-(-max(size[axis] for size in sizes) // _DIVISOR) * _DIVISOR for axis in (0, 1))
    batch = torch.zeros(len(images), 3, height, width, device=device)
    mean = torch.tensor(config.mean, device=device)[:, None, None]
    std = torch.tensor(config.std, device=device)[:, None, None]
    scaled = []
    for slot, image, target, size in zip(batch, images, targets, sizes, strict=True):
        pixels = image.to(device, non_blocking=True).permute(2, 0, 1).flip(0).float()
        if size != tuple(image.shape[:2]):
            pixels = functional.interpolate(pixels[None], size, mode='bilinear', antialias=True)[0]
        slot[:, : size[0], : size[1]] = (pixels - mean) / std
        factors = size[1] / image.shape[1], size[0] / image.shape[0]
        scaled.append(_scaled(target, factors, device))
    return Batch(batch.contiguous(memory_format=torch.channels_last), scaled, [(size[0], size[1]) for size in sizes])


def _scaled(target: TrainingTarget, factors: tuple[float, float], device: torch.device) -> TrainingTarget:
    """The target of an image that was resized by (x, y) factors. The masks keep their resolution."""
    return TrainingTarget(
        boxes=(target.boxes * torch.tensor(factors * 2)).to(device, non_blocking=True),
        labels=target.labels.to(device, non_blocking=True),
        object_ids=target.object_ids.to(device, non_blocking=True),
        masks=target.masks.to(device, non_blocking=True),
        ignored=None if target.ignored is None else target.ignored.to(device, non_blocking=True),
        mask_scale=(1 / factors[0], 1 / factors[1]),
    )
