"""A propagation model file: weights as .safetensors with the PropagationConfig in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vis_ros.propagation.propagation_config import PropagationConfig, propagation_config

PROPAGATION_KEY = 'vis_ros.propagation'
"""Key of the PropagationConfig, as JSON, in the metadata of the file."""

_NETWORKS: Mapping[str, tuple[str, str]] = {
    'maskrnn': ('vis_ros.propagation.maskrnn.network', 'MaskRnn'),
    'rgmp': ('vis_ros.propagation.rgmp.network', 'Rgmp'),
    'pts': ('vis_ros.propagation.pts.network', 'Pts'),
    'feelvos': ('vis_ros.propagation.feelvos.network', 'Feelvos'),
}


def build_propagation_network(config: PropagationConfig) -> nn.Module:
    """The network of a config, with fresh weights."""
    module, name = _NETWORKS[config.architecture]
    network: nn.Module = getattr(import_module(module), name)(config)
    return network


def is_propagation(path: Path) -> bool:
    """Whether a .safetensors file holds a propagation network; ValueError if it is none."""
    return PROPAGATION_KEY in _metadata(path)


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, 'np') as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a .safetensors file: {error}') from error


def read_propagation_config(path: Path) -> PropagationConfig:
    """What a file says of itself; ValueError if it is no propagation model."""
    metadata = _metadata(path)
    if PROPAGATION_KEY not in metadata:
        raise ValueError(
            f'{path} holds no propagation network: train one with `vis-ros train config/train_feelvos.yaml`'
        )
    return propagation_config(json.loads(metadata[PROPAGATION_KEY]))


def save_propagation(network: nn.Module, path: Path, precision: torch.dtype = torch.float16) -> None:
    """Write the weights in `precision` with the network's config (`network.config`), atomically."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    state = {name: tensor.to(precision) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    partial = path.with_name(path.name + '.part')
    config = network.config
    assert isinstance(config, PropagationConfig)
    save_file(state, partial, metadata={PROPAGATION_KEY: config.to_json()})
    partial.chmod(0o644)
    partial.replace(path)


def load_propagation(path: Path) -> nn.Module:
    """The network of a file, in float32, in evaluation mode; ValueError names what does not fit."""
    network = build_propagation_network(read_propagation_config(path))
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'{path} does not fit its own config: {error}') from error
    return network.eval()
