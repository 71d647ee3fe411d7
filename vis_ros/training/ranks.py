"""Ranks: the processes that train one network together, one on each GPU, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

_PATIENCE = timedelta(hours=2)
"""The others wait so long while the first process validates."""


@dataclass(frozen=True)
class Ranks:
    """This process among all. rank: from 0; world: how many; device: of this one."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and talks."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
            values = values / self.world
        return values

    def gather(self, values: list[Tensor]) -> list[list[Tensor]]:
        """CPU tensors of every process, in the order of ranks."""
        found = [values] * self.world
        if self.world > 1:
            distributed.all_gather_object(found, values)
        return found


def choose_device(device: str) -> torch.device:
    """TrainConfig.device of a process that trains alone; ValueError where there is no GPU for it."""
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(f'device {device!r} was asked for, but torch {torch.__version__} finds no CUDA GPU')
    return torch.device(device)


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """The processes that `torchrun` started, or this one alone.

    device: TrainConfig.device; under `torchrun` process N of a machine takes GPU N.
    """
    chosen = choose_device(device)
    world = int(os.environ.get('WORLD_SIZE', '1'))
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    if chosen.type == 'cuda':
        chosen = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(chosen)
    distributed.init_process_group('nccl' if chosen.type == 'cuda' else 'gloo', timeout=_PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), world, chosen)
    finally:
        distributed.destroy_process_group()
