"""export_default_graphs: writes all graphs of a model file that engines load by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vis_ros.export.graph_export import export
from vis_ros.export.graph_file import Target
from vis_ros.export.part_export import export_parts, export_proposals
from vis_ros.networks.model_header import read_config
from vis_ros.propagation.propagation_header import is_propagation, read_propagation_config

_TARGETS: tuple[Target, ...] = ('cpu', 'gpu')


def architectures(architecture: str) -> tuple[str, ...]:
    """The networks in a model file. A MaskTrack R-CNN can also run without its track head."""
    return (architecture, 'mask_rcnn') if architecture != 'mask_rcnn' else (architecture,)


def export_default_graphs(weights: Path) -> Iterator[Path]:
    """Write the graphs of a detector for OpenVINO and TensorRT, with its proposals for PTS, or those of a propagation
    network for OpenVINO.

    Returns:
        the path of each graph once it is written, in the folder of the weights.

    Raises:
        ValueError: the network has no graphs, or one does not give the same as the network.
    """
    if is_propagation(weights):
        for config in read_propagation_config(weights).variants:
            yield from export_parts(weights, 'cpu', config=config).values()
        return
    for architecture in architectures(read_config(weights).architecture):
        for target in _TARGETS:
            yield export(weights, target, architecture=architecture)
    yield export_proposals(weights)
