"""Task: the interface between the trainer and one kind of network, with its data, its losses and its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from vis_ros.evaluation.verdict import Verdict
from vis_ros.networks.model_config import ModelConfig
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.training.train_config import Validation
from vis_ros.training.validation import ValidationResult


class Validator(Protocol):
    """Scores a network on held-out data.

    config: when to validate, and which metric selects the best checkpoint.
    """

    config: Validation

    def run(self, network: Any) -> ValidationResult:
        """Score a network in evaluation mode. Draws no random numbers."""
        ...


class Task(Protocol):
    """A kind of network together with its training data, which are opened and checked at construction.

    model: config of the network.
    validator: None if the run has no validation, and in every process but the first.
    unused_weights: whether a step may leave some weights without a gradient.
    """

    @property
    def model(self) -> ModelConfig | PropagationConfig: ...

    @property
    def validator(self) -> Validator | None: ...

    @property
    def unused_weights(self) -> bool: ...

    def build(self) -> nn.Module:
        """The network with newly initialized weights."""
        ...

    def start(self, network: nn.Module) -> str:
        """Load the weights that the run starts from. Returns a summary of what was loaded."""
        ...

    def losses(self, network: nn.Module) -> nn.Module:
        """A module that wraps the network and returns scalar losses by name, the same names in every process."""
        ...

    def loader(self, steps: int, first: int, rank: int, world: int) -> DataLoader[Any]:
        """The batches (images, truth) of one process: `steps` of them, starting at sample `first`."""
        ...

    def to_input(self, images: Any, truth: Any, scale: float, progress: float, device: torch.device) -> tuple[Any, ...]:
        """The arguments of the losses for one batch, resized by `scale`. progress: of the run, from 0 to 1."""
        ...

    def save(self, network: nn.Module, path: Path) -> None:
        """Write the model file, atomically."""
        ...

    def verdicts(self, best: Path, device: torch.device) -> Iterable[tuple[str, Verdict]]:
        """Whether a model file is better on the held-out data than the weights that the run started from.

        Returns:
            for each source of the validation its name and the verdict; nothing without validation or such weights.
        """
        ...

    def describe(self) -> str:
        """A short description of the network for the log."""
        ...

    def draw(self, images: Any, truth: Any) -> NDArray[np.uint8]:
        """A batch with its ground truth drawn over it: (H, W, 3) uint8 BGR."""
        ...
