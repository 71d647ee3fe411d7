"""Model files of mask propagation networks: weights as .safetensors, with the config in the metadata."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS, config_from_dict
from vis_ros.whole_file import whole_file

PROPAGATION_KEY = 'vis_ros.propagation'
"""Metadata key of the PropagationConfig, stored as JSON."""


def build_propagation_network(config: PropagationConfig) -> nn.Module:
    """The network of a config, with newly initialized weights."""
    return PROPAGATION_SYSTEMS[config.architecture].network(config)


def is_propagation(path: Path) -> bool:
    """Whether a .safetensors file holds a mask propagation network. ValueError if it is not a .safetensors file."""
    return PROPAGATION_KEY in _metadata(path)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, 'np') as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a .safetensors file: {error}') from error


def read_propagation_config(path: Path) -> PropagationConfig:
    """The config stored in a model file. ValueError if the file holds no mask propagation network."""
    metadata = _metadata(path)
    if PROPAGATION_KEY not in metadata:
        raise ValueError(
            f'{path} holds no propagation network: train one with `vis-ros train config/train_feelvos.yaml`'
        )
    return config_from_dict(json.loads(metadata[PROPAGATION_KEY]))


def save_propagation(network: nn.Module, path: Path, precision: torch.dtype = torch.float16) -> None:
    """Write the weights of a network and its `config` to a model file, atomically. precision: of the weights."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    state = {name: tensor.to(precision) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    config = network.config
    assert isinstance(config, PropagationConfig)
    with whole_file(path) as partial:
        save_file(state, partial, metadata={PROPAGATION_KEY: config.to_json()})
        partial.chmod(0o644)


def load_propagation(path: Path) -> nn.Module:
    """The network of a model file, float32 and in evaluation mode. ValueError if the weights do not fit its config."""
    network = build_propagation_network(read_propagation_config(path))
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'{path} does not fit its own config: {error}') from error
    return network.eval()
