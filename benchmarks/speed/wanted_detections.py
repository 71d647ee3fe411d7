"""An engine that finds a wanted number of objects in every image, for timing only."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine
from vis_ros.extras import missing
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import CONFIG_KEY

_BELOW = 0.999
"""The threshold relative to the lowest score that must pass it: scores of one image may differ in the last bits."""

Load = Callable[[Path, float | None], Engine]
"""Loads weights with a score threshold (None: the model's own) and room for the wanted number of detections."""


def load_for_detections(
    load: Load, weights: Path, images: Sequence[NDArray[np.uint8]], detections: int, folder: Path
) -> tuple[Engine, float | None, bool]:
    """Load an engine that finds `detections` objects in every image, if its network can.

    If it finds too few at any threshold, non-maximum suppression is turned off. That needs the extra `export`, since
    it is another graph; without the extra the engine stays as it is.

    Args:
        load: loads the engine.
        weights: model file.
        images: BGR.
        detections: wanted number, at least 1.
        folder: receives the copy of the model file without suppression.

    Returns:
        The engine, its score threshold (None: the model's own), and whether suppression is off.
    """
    fewest = 0
    try:
        engine, threshold, fewest = load_at_threshold(lambda at: load(weights, at), images, detections)
    except ValueError:  # a TensorRT engine has room for fewer detections
        if missing('export'):
            raise
    if fewest >= detections or missing('export'):
        return engine, threshold, False
    crowded = folder / f'{weights.stem}_crowded_{detections}.safetensors'
    save_crowded_model(weights, crowded, detections)
    engine, threshold, _ = load_at_threshold(lambda at: load(crowded, at), images, detections)
    return engine, threshold, True


def load_at_threshold(
    load: Callable[[float | None], Engine], images: Sequence[NDArray[np.uint8]], detections: int
) -> tuple[Engine, float | None, int]:
    """Load an engine with the highest score threshold at which it finds K = `detections` objects in every image.

    Only a better detection suppresses another one, so the best K are the same at every threshold below the score of
    the K-th, and the highest of these thresholds adds the least work to non-maximum suppression.

    Args:
        load: loads the engine with a score threshold (None: the model's own) and at most K detections per image.
        images: BGR.
        detections: K, at least 1.

    Returns:
        The engine, its threshold (None: the model's own), and the fewest objects that it finds in an image.
    """
    engine = load(None)
    if min(map(len, _scores(engine, images))) >= detections:
        return engine, None, detections
    scores = _scores(load(0.0), images)
    fewest = min(map(len, scores))
    threshold = _BELOW * min(map(min, scores)) if fewest >= detections else 0.0
    return load(threshold), threshold, fewest


def _scores(engine: Engine, images: Sequence[NDArray[np.uint8]]) -> list[list[float]]:
    return [engine.infer([image])[0].least_scores.tolist() for image in images]


def save_crowded_model(model: Path, path: Path, detections: int) -> None:
    """Copy a model file with non-maximum suppression off (threshold 1) and room for `detections` objects.

    The network does the same work for each detection, regardless of what it shows.
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
