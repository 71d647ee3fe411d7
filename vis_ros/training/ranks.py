"""Ranks: the processes that train one network together, one for each GPU, as started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

_TIMEOUT = timedelta(hours=2)
"""How long the other processes wait while the first one validates."""


@dataclass(frozen=True)
class Ranks:
    """This process and its place among all. rank: its number, from 0; world: number of processes; device: its own."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes files and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
            values = values / self.world
        return values

    def gather(self, values: list[Tensor]) -> list[list[Tensor]]:
        """The CPU tensors of every process, ordered by rank."""
        found = [values] * self.world
        if self.world > 1:
            distributed.all_gather_object(found, values)
        return found


def choose_device(device: str) -> torch.device:
    """The torch device for TrainConfig.device. ValueError if it asks for a GPU and there is none."""
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(f'device {device!r} was asked for, but torch {torch.__version__} finds no CUDA GPU')
    return torch.device(device)


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started; without `torchrun`, train alone.

    device: TrainConfig.device. Under `torchrun`, process N of a machine uses GPU N.
    """
    chosen = choose_device(device)
    world = int(os.environ.get('WORLD_SIZE', '1'))
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    if chosen.type == 'cuda':
        chosen = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(chosen)
    distributed.init_process_group('nccl' if chosen.type == 'cuda' else 'gloo', timeout=_TIMEOUT)
    try:
        yield Ranks(distributed.get_rank(), world, chosen)
    finally:
        distributed.destroy_process_group()
