"""Model files: the weights of a detector in .safetensors format, with its ModelConfig in the metadata."""

from __future__ import annotations

from pathlib import Path

import torch

from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_header import CONFIG_KEY, read_config
from vis_ros.networks.sealed_weights import load_into, load_sealed, save_sealed


def save_model(network: MaskRCNN, path: Path, precision: torch.dtype = torch.float16) -> None:
    """Write a network and its config. The file appears complete or not at all.

    Args:
        network: its config goes into the metadata.
        path: of the .safetensors file.
        precision: type to store floating-point weights in.
    """
    state = {name: _to_storage(tensor, precision) for name, tensor in network.state_dict().items()}
    save_sealed(state, path, {CONFIG_KEY: network.config.to_json()})


def _to_storage(tensor: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(precision) if tensor.is_floating_point() else tensor


def load_model(path: Path, architecture: str = 'auto') -> MaskRCNN:
    """The network in a model file, in float32 and evaluation mode.

    Args:
        path: of the .safetensors file.
        architecture: 'auto', or 'mask_rcnn' to ignore a track head.

    Raises:
        ValueError: the file is not a model file, is damaged, or its weights do not fit its config.
    """
    config = read_config(path, architecture)
    state = load_sealed(path)
    if config.architecture == 'mask_rcnn':
        state = {name: tensor for name, tensor in state.items() if not name.startswith('track_head.')}
    network = build_network(config)
    load_into(network, {name: tensor.float() for name, tensor in state.items()}, path)
    return network.eval()
