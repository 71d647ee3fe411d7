"""export_parts: writes the parts of a propagation network as ONNX graphs, whose weights stay in the model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import vis_ros
from vis_ros.export.external_weights import refer_to_weights
from vis_ros.export.graph_file import VERSION_KEY, Target
from vis_ros.export.graph_writing import check_replaceable, copy_weights, scratch_graph, trace
from vis_ros.export.part_graphs import DIGEST_KEY, PROPOSALS, part_graph_path
from vis_ros.file_digest import sha256_of
from vis_ros.networks.model_file import load_model
from vis_ros.propagation.part import Part
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import load_propagation
from vis_ros.propagation.propagation_header import PROPAGATION_KEY, read_propagation_config
from vis_ros.propagation.pts.rpn_boxes import RpnBoxes
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

_OPSET = 17
_TOLERANCE = 1e-3
"""Largest difference of an output from torch, in relation to its largest value."""
_SEED = 0


def export_parts(
    weights: Path,
    target: Target,
    *,
    size: tuple[int, int] | None = None,
    out: Path | None = None,
    config: PropagationConfig | None = None,
) -> Mapping[str, Path]:
    """Write the graph of each part of a propagation network in fp32, check it against torch, and return the paths.

    Args:
        weights: the model file.
        target: 'cpu' for OpenVINO, with any size; 'gpu' for TensorRT, with one size.
        size: (height, width) of the images of 'gpu' graphs, multiples of 32; None is the model's own.
        out: folder to write to, which also gets a copy of the weights; None is the folder of the weights.
        config: in place of that of the file, see `load_propagation`.

    Raises:
        ValueError: a graph does not give the same as the network.
    """
    weights = weights.resolve()
    stored = read_propagation_config(weights)
    config = config or stored
    network = load_propagation(weights, config).requires_grad_(False)
    parts = PROPAGATION_SYSTEMS[config.architecture].parts(network)
    placed = weights if out is None else copy_weights(weights, out)
    properties = {
        PROPAGATION_KEY: config.to_json(),
        DIGEST_KEY: sha256_of(weights),
        VERSION_KEY: vis_ros.__version__,
    }
    graphs = {}
    for name, part in parts.items():
        path = part_graph_path(placed, name, target, size, config.variant(stored))
        check_replaceable(path)
        _export(part, path, placed, target, size or config.input_size, properties)
        graphs[name] = path
    return graphs


def export_proposals(weights: Path, *, out: Path | None = None) -> Path:
    """Write the 'cpu' graph of the region proposals of a detector, which PTS needs, and return its path.

    Arguments and errors are those of `export_parts`.
    """
    weights = weights.resolve()
    network = load_model(weights, 'mask_rcnn').requires_grad_(False)
    placed = weights if out is None else copy_weights(weights, out)
    path = part_graph_path(placed, PROPOSALS, 'cpu')
    check_replaceable(path)
    size = (network.config.input_height // 32 * 32, network.config.input_width // 32 * 32)
    properties = {DIGEST_KEY: sha256_of(weights), VERSION_KEY: vis_ros.__version__}
    _export(RpnBoxes(network), path, placed, 'cpu', size, properties)
    return path


def _export(
    part: Part, path: Path, weights: Path, target: Target, size: tuple[int, int], properties: Mapping[str, str]
) -> None:
    assert isinstance(part, torch.nn.Module)
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        inputs = dict(zip(part.axes, part.example(size), strict=True))
    with torch.inference_mode():
        found = part(*inputs.values())
    expected = found if isinstance(found, tuple) else (found,)
    names = [f'output{number}' for number in range(len(expected))]
    axes = {}
    if target == 'cpu':
        axes = {name: {axis: f'{name}_{axis}' for axis in chosen} for name, chosen in part.axes.items()}
    model = trace(part.eval(), inputs, names, axes, _OPSET)
    refer_to_weights(model, weights)
    onnx.helper.set_model_props(model, dict(properties))
    with scratch_graph(model, path) as partial:
        session = onnxruntime.InferenceSession(str(partial), providers=['CPUExecutionProvider'])
        outputs = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        for output, wanted in zip(outputs, expected, strict=True):
            error = float(np.abs(output - wanted.numpy()).max()) / max(1.0, float(wanted.abs().max()))
            if not error <= _TOLERANCE:
                raise ValueError(f'{path.name}: the graph differs from the network by {error:.2g} of the largest value')
        os.replace(partial, path)
