"""Clips as tensors: a source of clips behind a torch DataLoader, for mask propagation networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.training.clips import Clip, Clips
from vis_ros.training.sample_loader import numbered_loader

_DIVISOR = 32

ClipTensors = tuple[Tensor, Tensor]


class ClipDataset(Dataset[Clip]):
    """Clips by number."""

    def __init__(self, clips: Clips) -> None:
        self._clips = clips

    def __getitem__(self, index: int) -> Clip:
        return self._clips.clip(index)


def clip_loader(clips: Clips, batch: int, steps: int, workers: int, **share: int) -> DataLoader[Any]:
    """`steps` batches of clips: images (B, T, H, W, 3) uint8 BGR and labels (B, T, H, W) uint8.

    share: first, rank and world, as in `numbered_loader`.
    """
    return numbered_loader(ClipDataset(clips), _collate, batch, steps, workers, **share)


def _collate(clips: list[Clip]) -> ClipTensors:
    images, labels = np.stack([clip.images for clip in clips]), np.stack([clip.labels for clip in clips])
    return torch.from_numpy(images), torch.from_numpy(labels)


def to_clip_input(
    images: Tensor, labels: Tensor, config: PropagationConfig, scale: float, device: torch.device
) -> ClipTensors:
    """Resize and normalize a batch of clips.

    Args:
        images: (B, T, H, W, 3) uint8 BGR.
        labels: (B, T, H, W) uint8.
        config: mean and std of the network.
        scale: resize factor; both sides are rounded to multiples of 32.
        device: of the result.

    Returns:
        images (B, T, 3, h, w), normalized RGB float, and labels (B, T, h, w) int64.
    """
    height, width = (max(round(side * scale / _DIVISOR), 1) * _DIVISOR for side in labels.shape[2:])
    pixels = images.to(device, non_blocking=True).flatten(0, 1).permute(0, 3, 1, 2).flip(1).float()
    numbers = labels.to(device, non_blocking=True).flatten(0, 1)[:, None]
    if (height, width) != tuple(labels.shape[2:]):
        pixels = functional.interpolate(pixels, (height, width), mode='bilinear', antialias=True)
        numbers = functional.interpolate(numbers, (height, width), mode='nearest-exact')
    mean = torch.tensor(config.mean, device=device)[:, None, None]
    std = torch.tensor(config.std, device=device)[:, None, None]
    shape = labels.shape[:2]
    return ((pixels - mean) / std).unflatten(0, shape), numbers[:, 0].long().unflatten(0, shape)
