"""Tracing modules to ONNX graphs, and writing the graphs beside their weights."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from filecmp import cmp
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from vis_ros.export.graph_file import VERSION_KEY
from vis_ros.export.onnx_metadata import read_metadata_props, seal
from vis_ros.scratch import ScratchFolder, scratch_file
from vis_ros.whole_file import naming, whole_file


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
    with warnings.catch_warnings(), ScratchFolder() as folder:
        file = folder / 'traced.onnx'
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
    """A copy of the model file in the folder of the graph. Not a link: onnx rejects links to external data.

    Raises:
        FileExistsError: the folder has another file of this name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    placed = folder / weights.name
    if placed.exists():
        if not cmp(placed, weights, shallow=False):
            raise FileExistsError(f'{placed} is another file than {weights} and is not replaced: choose another --out')
        return placed
    with whole_file(placed) as partial:
        shutil.copyfile(weights, partial)
    return placed


def check_replaceable(path: Path) -> None:
    """Check that a graph may be written to a path. Raises FileExistsError if somebody else's file is there."""
    if path.exists():
        try:
            is_ours = VERSION_KEY in read_metadata_props(path)
        except ValueError:
            is_ours = False
        if not is_ours:
            raise FileExistsError(f'{path} was not written by vis-ros export and is not replaced: choose another --out')


@contextmanager
def scratch_graph(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """A temporary file with a sealed graph, in the folder of `path`, where its weights are."""
    with scratch_file(path.parent) as scratch:
        with naming(path):
            scratch.write_bytes(seal(model.SerializeToString(deterministic=True)))
        yield scratch
