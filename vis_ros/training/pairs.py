"""Pairs of key and reference frame as tensors: a Mixture of sources behind a torch DataLoader."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vis_ros.data.labelled_frame import LabelledFrame
from vis_ros.data.mixture import Mixture
from vis_ros.networks.config import ModelConfig
from vis_ros.training.losses import Target

Pair = tuple[tuple[Tensor, Target], tuple[Tensor, Target]]


class PairDataset(Dataset[Pair]):
    """Pair number i of a mixture; the same number is the same pair in every run."""

    def __init__(self, mixture: Mixture) -> None:
        self._mixture = mixture

    def __getitem__(self, index: int) -> Pair:
        key, reference = self._mixture.pair(index)
        return _to_tensors(key), _to_tensors(reference)


class _Range(Sampler[int]):
    def __init__(self, start: int, stop: int) -> None:
        self._range = range(start, stop)

    def __iter__(self) -> Iterator[int]:
        return iter(self._range)

    def __len__(self) -> int:
        return len(self._range)


def pair_loader(mixture: Mixture, pairs: int, first_step: int, last_step: int, workers: int) -> DataLoader[Pair]:
    """Batches of `pairs` pairs for the steps from `first_step` to `last_step`, in an order that never changes."""
    return DataLoader(
        PairDataset(mixture),
        batch_size=pairs,
        sampler=_Range(first_step * pairs, last_step * pairs),
        num_workers=workers,
        # a forked worker inherits the thread pools of OpenCV and OpenMP without their threads, and waits for them
        multiprocessing_context='spawn' if workers > 0 else None,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
        worker_init_fn=_one_thread,
        generator=torch.Generator(),  # or the loader draws from the state that a resumed run restores
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _collate(pairs: list[Pair]) -> tuple[Tensor, list[Target]]:
    """Images (2 B, H, W, 3) uint8 and their targets: all key frames, then all reference frames."""
    frames = [key for key, _ in pairs] + [reference for _, reference in pairs]
    return torch.stack([image for image, _ in frames]), [target for _, target in frames]


def _to_tensors(frame: LabelledFrame) -> tuple[Tensor, Target]:
    target = Target(
        boxes=torch.from_numpy(frame.boxes()),
        labels=torch.from_numpy(frame.class_ids.astype(np.int64)) + 1,
        object_ids=torch.from_numpy(frame.object_ids.astype(np.int64)),
        masks=torch.from_numpy(frame.masks.astype(np.uint8)),
        ignored=None if frame.ignored is None else torch.from_numpy(frame.ignored.astype(np.uint8)),
    )
    return torch.from_numpy(np.ascontiguousarray(frame.image)), target


def to_input(
    images: Tensor, targets: list[Target], config: ModelConfig, scale: float, device: torch.device
) -> tuple[Tensor, list[Target]]:
    """Normalised network input (2 B, 3, H, W) at `scale`, sides rounded to 32, and its targets, on the device."""
    batch = images.to(device, non_blocking=True).permute(0, 3, 1, 2).flip(1).float()
    height, width = (max(32, round(side * scale / 32) * 32) for side in batch.shape[2:])
    factor_y, factor_x = height / batch.shape[2], width / batch.shape[3]
    if (height, width) != tuple(batch.shape[2:]):
        batch = torch.nn.functional.interpolate(batch, (height, width), mode='bilinear', antialias=True)
    mean = torch.tensor(config.mean, device=device)[:, None, None]
    std = torch.tensor(config.std, device=device)[:, None, None]
    factors = torch.tensor([factor_x, factor_y] * 2)
    moved = [
        Target(
            boxes=(target.boxes * factors).to(device, non_blocking=True),
            labels=target.labels.to(device, non_blocking=True),
            object_ids=target.object_ids.to(device, non_blocking=True),
            masks=target.masks.to(device, non_blocking=True),
            ignored=None if target.ignored is None else target.ignored.to(device, non_blocking=True),
            mask_scale=(1 / factor_x, 1 / factor_y),
        )
        for target in targets
    ]
    return ((batch - mean) / std).contiguous(memory_format=torch.channels_last), moved
