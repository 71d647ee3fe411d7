"""A torch DataLoader over numbered samples: always in the same order, shared between processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vis_ros.end_with_parent import end_worker_with_parent


class _Share(Sampler[int]):
    """The sample numbers of one process: in each of `steps` steps, the first `batch` of `stride` numbers."""

    def __init__(self, first: int, batch: int, stride: int, steps: int) -> None:
        self._first, self._batch, self._stride, self._steps = first, batch, stride, steps

    def __iter__(self) -> Iterator[int]:
        for step in range(self._steps):
            start = self._first + step * self._stride
            yield from range(start, start + self._batch)

    def __len__(self) -> int:
        return self._steps * self._batch


class _Loader(DataLoader[Any]):
    """Makes its batches in this process of the samples that its workers send.

    Workers send arrays: tensors are sent by file descriptors, through sockets that a killed process leaves behind.
    """

    def __init__(self, dataset: Dataset[Any], make_batch: Callable[[list[Any]], Any], **arguments: Any) -> None:
        super().__init__(dataset, collate_fn=list, **arguments)
        self._make_batch = make_batch

    def __iter__(self) -> Any:
        return map(self._make_batch, super().__iter__())


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
    """Batches of numbered samples, always in the same order.

    Args:
        dataset: samples by number, of arrays.
        collate: makes a batch of tensors of a list of samples.
        batch: samples in one batch.
        steps: number of batches.
        workers: processes that make samples; 0 makes them in this one.
        first: number of the first sample of the first step, counted over all processes.
        rank: of this process.
        world: number of processes, which share the samples of a step without overlap.
    """
    return _Loader(
        dataset,
        collate,
        batch_size=batch,
        sampler=_Share(first + rank * batch, batch, world * batch, steps),
        num_workers=workers,
        # A forked worker inherits the thread pools of OpenCV and OpenMP without their threads, and would deadlock.
        multiprocessing_context='spawn' if workers > 0 else None,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # the default generator's state is restored by a resumed run
    )


def _start_worker(_: int) -> None:
    end_worker_with_parent()  # it would wait for ever for somebody to take its samples
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
