"""The metadata of a model file of a propagation network, read without its weights and without torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from vis_ros.field_types import json_object
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.systems import config_from_dict

PROPAGATION_KEY = 'vis_ros.propagation'
"""Metadata key of the PropagationConfig, stored as JSON, in model files and exported graphs."""


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
    try:
        return config_from_dict(json_object(metadata[PROPAGATION_KEY], 'it'))
    except ValueError as error:
        raise ValueError(f'{path}: its config is not valid: {error}') from error
