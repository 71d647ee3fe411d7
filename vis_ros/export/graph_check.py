"""Checks that an exported graph, run by onnxruntime, gives the same detections as the network in torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.export.graph_file import Target
from vis_ros.export.static_detector import StaticDetector


@dataclass(frozen=True)
class Tolerance:
    """How much the detections of a graph may differ from those of the network.

    Attributes:
        box: maximum difference of box coordinates in pixels.
        score: maximum difference of scores.
        mask: maximum mean difference of mask probabilities, and of embeddings in relation to their largest value.
        share: minimum share of detections that agree. It is below 1 even in fp32: if two detections have the same score
            up to rounding, either may be the last one of an image.
    """

    box: float
    score: float
    mask: float
    share: float


TOLERANCES = {
    torch.float32: Tolerance(box=0.05, score=1e-3, mask=1e-3, share=0.95),
    torch.float16: Tolerance(box=2.0, score=0.02, mask=0.02, share=0.8),
}
INT8_TOLERANCE = Tolerance(box=16.0, score=0.2, mask=0.1, share=0.5)
"""For one of the images that the scales were chosen on. Noise would be meaningless here."""


def check_graph(graph: Path, detector: StaticDetector, inputs: dict[str, Tensor], tolerance: Tolerance) -> None:
    """Raise ValueError unless a graph and the network that it was exported from agree on some inputs."""
    session = onnxruntime.InferenceSession(str(graph), providers=['CPUExecutionProvider'])
    outputs = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    found = _detections(detector.target, outputs)
    expected = _detections(detector.target, [tensor.numpy() for tensor in detector(*inputs.values())])
    matched = sum(any(_agree(one, other, tolerance) for other in found) for one in expected)
    if matched < tolerance.share * max(len(found), len(expected)):
        raise ValueError(
            f'{graph.name}: onnxruntime finds {len(found)} objects with the graph, torch {len(expected)} with the '
            f'network, but only {matched} of them agree'
        )


@dataclass(frozen=True)
class _Detection:
    image: int
    box: NDArray[np.float32]
    score: float
    label: int
    mask: NDArray[np.float32]
    embedding: NDArray[np.float32]


def _detections(target: Target, outputs: list[NDArray[Any]]) -> list[_Detection]:
    boxes, scores, labels, masks, embeddings = outputs[:5]
    if target == 'cpu':
        rows = zip(outputs[5].tolist(), boxes, scores, labels, masks, embeddings, strict=True)
        return [_Detection(*row) for row in rows]
    used = np.argwhere(scores > 0)
    return [_Detection(i, boxes[i, k], scores[i, k], labels[i, k], masks[i, k], embeddings[i, k]) for i, k in used]


def _agree(expected: _Detection, found: _Detection, tolerance: Tolerance) -> bool:
    return bool(
        found.image == expected.image
        and found.label == expected.label
        and np.abs(found.box - expected.box).max() <= tolerance.box
        and abs(found.score - expected.score) <= tolerance.score
        and np.abs(found.mask - expected.mask).mean() <= tolerance.mask
        and np.abs(found.embedding - expected.embedding).max()
        <= tolerance.mask * max(1.0, np.abs(expected.embedding).max())
    )


def bf16_as_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A bf16 graph with fp32 in place of bf16, because onnxruntime does not run bf16 layers on a CPU."""
    low, single = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for initializer in [each for each in changed.graph.initializer if each.data_type == low]:
        name, initializer.name = initializer.name, f'{initializer.name}/bf16'
        cast = onnx.helper.make_node('Cast', [initializer.name], [name], to=single)
        changed.graph.node.insert(0, cast)
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.name == 'to' and attribute.i == low:
                attribute.i = single
            elif attribute.HasField('t') and attribute.t.data_type == low:
                values = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(values))
    return changed
