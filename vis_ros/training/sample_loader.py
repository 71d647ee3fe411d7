"""Samples by their number behind a torch DataLoader, in an order that never changes and is shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class _Share(Sampler[int]):
    """The samples of one process: `batch` of every `stride` from `first` on, for so many steps."""

    def __init__(self, first: int, batch: int, stride: int, steps: int) -> None:
        self._first, self._batch, self._stride, self._steps = first, batch, stride, steps

    def __iter__(self) -> Iterator[int]:
        for step in range(self._steps):
            start = self._first + step * self._stride
            yield from range(start, start + self._batch)

    def __len__(self) -> int:
        return self._steps * self._batch


def numbered_loader(
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], Any],
    batch: int,
    steps: int,
    workers: int,
    *,
    first: int = 0,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[Any]:
    """Batches of `batch` samples for so many steps.

    first: number of the first sample of the first step, over all processes; rank, world: this process among all, which
    share the samples of a step without overlap.
    """
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=_Share(first + rank * batch, batch, world * batch, steps),
        num_workers=workers,
        # a forked worker inherits the thread pools of OpenCV and OpenMP without their threads, and waits for them
        multiprocessing_context='spawn' if workers > 0 else None,
        collate_fn=collate,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
        worker_init_fn=_one_thread,
        generator=torch.Generator(),  # or the loader draws from the state that a resumed run restores
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
