"""A model file with random weights: as fast as a trained one of its kind, and blind."""

from __future__ import annotations

from pathlib import Path

import torch

from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model


def save_random_model(config: ModelConfig, path: Path) -> None:
    """Write a network of that config, in evaluation mode; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(config)
    save_model(network, path)
