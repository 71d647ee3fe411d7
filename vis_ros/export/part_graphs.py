"""The exported ONNX graphs of a propagation network: their names, their metadata, and how they are found. Needs neither
torch nor onnx, unless graphs are missing.

A propagation network has one graph for each of its parts. They contain no weights, like the graph of a detector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vis_ros.export.find_graph import CACHE_LIMIT, belongs_to, graph_cache
from vis_ros.export.graph_file import Target
from vis_ros.export.onnx_metadata import read_metadata_props
from vis_ros.extras import missing
from vis_ros.file_digest import sha256_of
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_header import read_propagation_config
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.user_cache import delete_least_recently_used, mark_used

PROPOSALS = 'proposals'
"""Name of the part of a detector that proposes regions for PTS."""

DIGEST_KEY = 'vis_ros.weights_sha256'
"""Key of the SHA-256 of the model file in the metadata of a graph."""

_log = logging.getLogger(__name__)


def part_graph_path(
    weights: Path, part: str, target: Target, size: tuple[int, int] | None = None, variant: str = ''
) -> Path:
    """The path of the graph of a part beside a model file.

    Args:
        weights: the model file.
        part: a name of `PropagationSystem.part_names`.
        target: 'cpu' for OpenVINO, with any size; 'gpu' for TensorRT, with one size.
        size: (height, width) of the images of a 'gpu' graph; None is the model's own.
        variant: see `PropagationConfig.variant`.
    """
    suffix = '' if size is None else f'.{size[0]}x{size[1]}'
    return weights.with_name(f'{weights.stem}.{part}{variant}.{target}{suffix}.onnx')


def find_part_graphs(weights: Path, config: PropagationConfig | None = None) -> Mapping[str, Path]:
    """Part -> its 'cpu' graph: beside the model file or in the cache folder. Missing graphs are exported to the cache.

    config: in place of that of the file, see `load_propagation`.

    Raises:
        FileNotFoundError: graphs are missing, and the libraries to export them are not installed.
        ValueError: a graph cannot be exported.
    """
    stored = read_propagation_config(weights)
    names = PROPAGATION_SYSTEMS[stored.architecture].part_names

    def export(weights: Path, folder: Path) -> Mapping[str, Path]:
        from vis_ros.export.part_export import export_parts

        return export_parts(weights, 'cpu', out=folder, config=config)

    return _find(weights, names, (config or stored).variant(stored), export)


def find_proposal_graph(weights: Path) -> Path:
    """The graph of `RpnBoxes` of a detector, which PTS needs, as in `find_part_graphs`."""

    def export(weights: Path, folder: Path) -> Mapping[str, Path]:
        from vis_ros.export.part_export import export_proposals

        return {PROPOSALS: export_proposals(weights, out=folder)}

    return _find(weights, (PROPOSALS,), '', export)[PROPOSALS]


def _find(
    weights: Path, names: Sequence[str], variant: str, export: Callable[[Path, Path], Mapping[str, Path]]
) -> Mapping[str, Path]:
    weights = weights.resolve()  # OpenVINO rejects weights that are a symbolic link
    digest = sha256_of(weights)
    folder = graph_cache(digest)
    for place in (weights, folder / weights.name):
        graphs = {name: part_graph_path(place, name, 'cpu', variant=variant) for name in names}
        if all(belongs_to(graph, digest, _digest) for graph in graphs.values()):
            if place is not weights:
                mark_used(folder)
            return graphs
    absent = missing('export')
    if absent:
        raise FileNotFoundError(
            f'{weights} has no graphs beside it, and they cannot be exported here because {", ".join(absent)} is not '
            f'installed. On a machine with the export extra, run: vis-ros export {weights}'
        )
    _log.info('exporting the graphs of %s once, to %s', weights.name, folder)
    exported = export(weights, folder)
    delete_least_recently_used(folder.parent, CACHE_LIMIT)
    return exported


def _digest(graph: Path) -> str | None:
    return read_metadata_props(graph).get(DIGEST_KEY)
