"""A model file with random weights, for speed measurements and tests."""

from __future__ import annotations

from pathlib import Path

import torch

from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model


def save_random_model(config: ModelConfig, path: Path) -> None:
    """Write a model file with random weights, the same for each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(config)
    save_model(network, path)
