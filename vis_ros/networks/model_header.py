"""The metadata of a model file, read without its weights and without torch."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vis_ros.file_kinds import foreign_kind
from vis_ros.networks.model_config import ModelConfig

CONFIG_KEY = 'vis_ros.model'
"""Key of the ModelConfig, stored as JSON, in the metadata of model files and exported graphs."""

_NOT_LEARNED = ('.running_mean', '.running_var', '.num_batches_tracked')


def read_config(path: Path, architecture: str = 'auto') -> ModelConfig:
    """The config in a model file.

    Args:
        path: of a .safetensors file.
        architecture: 'auto', or 'mask_rcnn' to ignore a track head.

    Raises:
        ValueError: the file is not a model file, or does not contain this architecture.
    """
    try:
        with safe_open(path, 'np') as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        kind = foreign_kind(path)
        raise ValueError(f'{path} is not a .safetensors file: {f"it is {kind}" if kind else error}') from error
    if CONFIG_KEY not in metadata:
        raise ValueError(
            f'{path} contains no vis_ros model. To convert a checkpoint of torchvision, mmdetection, mmtracking or '
            f'MaskTrackRCNN, run: vis-ros weights convert {path}'
        )
    try:
        config = ModelConfig.from_json(metadata[CONFIG_KEY])
    except ValueError as error:
        raise ValueError(f'{path}: its config is not valid: {error}') from error
    if architecture not in ('auto', 'mask_rcnn', config.architecture):
        raise ValueError(f'{path} contains a {config.architecture}, not a {architecture}')
    return config if architecture == 'auto' else config.with_fields(architecture=architecture)


def count_parameters(path: Path, architecture: str) -> int:
    """Number of learned parameters in a model file. Those of a track head count only if the architecture has one."""
    with safe_open(path, 'np') as file:
        names = [name for name in file.keys() if not name.endswith(_NOT_LEARNED)]  # noqa: SIM118
        if architecture == 'mask_rcnn':
            names = [name for name in names if not name.startswith('track_head.')]
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
