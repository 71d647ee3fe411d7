"""Model files of mask propagation networks: weights as .safetensors, with the config in the metadata."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vis_ros.networks.sealed_weights import load_into, load_sealed, save_sealed
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_header import PROPAGATION_KEY, read_propagation_config
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS


def build_propagation_network(config: PropagationConfig) -> nn.Module:
    """The network of a config, with newly initialized weights."""
    return PROPAGATION_SYSTEMS[config.architecture].network(config)


def save_propagation(network: nn.Module, path: Path, precision: torch.dtype = torch.float16) -> None:
    """Write the weights of a network and its `config` to a model file, atomically. precision: of the weights."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    state = {name: tensor.to(precision) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    config = network.config
    assert isinstance(config, PropagationConfig)
    save_sealed(state, path, {PROPAGATION_KEY: config.to_json()})


def load_propagation(path: Path, config: PropagationConfig | None = None) -> nn.Module:
    """The network of a model file, float32, in evaluation mode. ValueError if it is damaged or does not fit.

    config: in place of that of the file, of the same shapes.
    """
    config = config or read_propagation_config(path)
    stored = load_sealed(path)
    network = build_propagation_network(config)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    load_into(network, state, path)
    return network.eval()
