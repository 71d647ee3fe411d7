"""A model file: weights as .safetensors with the ModelConfig in its metadata. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_header import CONFIG_KEY
from vis_ros.networks.model_header import read_config as read_config


def save_model(network: MaskRCNN, path: Path, precision: torch.dtype = torch.float16) -> None:
    """Write the weights in `precision` with the network's config, atomically."""
    state = {name: _narrow(tensor, precision) for name, tensor in network.state_dict().items()}
    partial = path.with_name(path.name + '.part')
    save_file(state, partial, metadata={CONFIG_KEY: network.config.to_json()})
    partial.chmod(0o644)
    partial.replace(path)


def _narrow(tensor: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(precision) if tensor.is_floating_point() else tensor


def load_model(path: Path, architecture: str = 'auto') -> MaskRCNN:
    """The network of a model file, in float32, in evaluation mode.

    architecture: 'auto', or 'mask_rcnn' to leave a track head out. ValueError names what does not fit.
    """
    config = read_config(path, architecture)
    state = load_file(path)
    if config.architecture == 'mask_rcnn':
        state = {name: tensor for name, tensor in state.items() if not name.startswith('track_head.')}
    network = build_network(config)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        raise ValueError(f'{path} does not fit its own config: {error}') from error
    return network.eval()
