"""Task: what the trainer must know of the network that it trains, of its data and of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from vis_ros.networks.model_config import ModelConfig
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.training.train_config import Validation
from vis_ros.training.validation import ValidationResult


class AnyValidator(Protocol):
    """Scores a network on videos that it does not train on. config: when, and by which figure."""

    config: Validation

    def run(self, network: Any) -> ValidationResult:
        """Score a network, which is in evaluation mode; draws no random number."""
        ...


class Task(Protocol):
    """A kind of network with its data, opened and checked.

    model: of the network. validator: None without validation, and in all processes but the first. unused_weights:
    whether there may be steps in which some weights get no gradient.
    """

    @property
    def model(self) -> ModelConfig | PropagationConfig: ...

    @property
    def validator(self) -> AnyValidator | None: ...

    @property
    def unused_weights(self) -> bool: ...

    def build(self) -> nn.Module:
        """The network with fresh weights."""
        ...

    def start(self, network: nn.Module) -> str:
        """Load the weights that the run starts from; returns what was taken."""
        ...

    def losses(self, network: nn.Module) -> nn.Module:
        """The losses around the network, which give scalars by name, the same names in each process."""
        ...

    def loader(self, steps: int, first: int, rank: int, world: int) -> DataLoader[Any]:
        """Batches (images, truth) for so many steps from sample `first` on, the share of one of the processes."""
        ...

    def to_input(self, images: Any, truth: Any, scale: float, progress: float, device: torch.device) -> tuple[Any, ...]:
        """The arguments of the losses from a batch of the loader, resized by `scale`. progress: of the run, 0 to 1."""
        ...

    def save(self, network: nn.Module, path: Path) -> None:
        """Write the model file, atomically."""
        ...

    def describe(self) -> str:
        """The network in a few words."""
        ...

    def picture(self, images: Any, truth: Any) -> NDArray[np.uint8]:
        """A batch with its truth, (H, W, 3) uint8 BGR."""
        ...
