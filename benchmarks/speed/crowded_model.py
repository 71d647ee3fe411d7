"""A model file with the same weights that finds more: nothing is suppressed."""

from __future__ import annotations

import json
from pathlib import Path

from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import CONFIG_KEY


def save_crowded_model(model: Path, path: Path, detections: int) -> None:
    """Copy a model file with the NMS threshold of detections at 1, and room for so many of them.

    The work of the network for a detection stays the same, whatever it shows; so this is for timing only.
    """
    data = model.read_bytes()
    end = 8 + int.from_bytes(data[:8], 'little')  # safetensors: length of the header, header in JSON, tensors
    header = json.loads(data[8:end])
    config = ModelConfig.from_json(header['__metadata__'][CONFIG_KEY])
    crowded = config.with_fields(nms_threshold=1.0, max_detections=detections)
    header['__metadata__'][CONFIG_KEY] = crowded.to_json()
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, 'little') + text + data[end:])
