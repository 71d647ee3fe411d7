"""Tracing modules to ONNX graphs, and writing the graphs beside their weights."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from vis_ros.export.onnx_metadata import seal


def trace(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Mapping[str, Any], opset: int
) -> onnx.ModelProto:
    """The graph of a module, with its weights under the names that they have in the module.

    Args:
        module: in evaluation mode.
        inputs: an example of each input, in order.
        outputs: name of each output.
        axes: input or output -> the axes whose length is only known at run time, as for `torch.onnx.export`.
        opset: of ONNX.
    """
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'traced.onnx'
        # The exporter that traces: the newer one does not support sizes that are only known at run time.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            file,
            dynamo=False,
            opset_version=opset,
            do_constant_folding=False,  # folding would create weights that are not in the model file
            training=torch.onnx.TrainingMode.PRESERVE,  # so that the batch norm of a timm network is not folded
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
        model = onnx.load(file)
    for node in model.graph.node:
        node.ClearField('doc_string')
    return model


def copy_weights(weights: Path, folder: Path) -> Path:
    """A copy of the model file in the folder of the graph. Not a link: onnx rejects links to external data."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = folder / weights.name
    if placed.exists() and placed.samefile(weights):
        return placed
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        partial = Path(scratch) / weights.name
        shutil.copyfile(weights, partial)
        os.replace(partial, placed)
    return placed


@contextmanager
def scratch_file(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """A temporary file with a sealed graph, in the folder of `path`, where its weights are."""
    descriptor, name = tempfile.mkstemp(prefix=f'{path.stem}.', suffix='.part', dir=path.parent)
    with os.fdopen(descriptor, 'wb') as file:
        file.write(seal(model.SerializeToString(deterministic=True)))
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
