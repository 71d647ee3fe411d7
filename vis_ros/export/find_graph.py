"""find_graph: finds the exported graph of a model file, or exports it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from vis_ros.export.graph_file import Target, graph_path, read_metadata
from vis_ros.extras import missing
from vis_ros.file_digest import sha256_of
from vis_ros.networks.model_header import read_config
from vis_ros.user_cache import delete_least_recently_used, mark_used, user_cache

CACHE_LIMIT = 4 << 30
"""Most bytes of graphs in the cache. Beyond it, those of the least recently used weights are deleted."""

_log = logging.getLogger(__name__)


def find_graph(
    weights: Path,
    architecture: str,
    target: Target,
    precision: str | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 1,
) -> Path:
    """The graph of a model file: beside it or in the cache folder. A missing graph is exported to the cache folder.

    The arguments are those of `graph_path`; architecture may also be 'auto'.

    Raises:
        FileNotFoundError: the graph is missing, and the libraries to export it are not installed.
        ValueError: the graph cannot be exported.
    """
    weights = weights.resolve()  # OpenVINO and onnxruntime reject weights that are a symbolic link
    config = read_config(weights, architecture)
    if size == (config.input_height, config.input_width):
        size = None
    beside = graph_path(weights, config.architecture, target, precision, size, batch)
    digest = sha256_of(weights)
    if belongs_to(beside, digest):
        return beside
    folder = graph_cache(digest)
    cached = folder / beside.name
    if belongs_to(cached, digest):
        mark_used(folder)
        return cached
    absent = missing('export')
    if absent:
        raise FileNotFoundError(
            f'{weights} has no graph {beside.name} beside it, and it cannot be exported here because '
            f'{", ".join(absent)} is not installed. On a machine with the export extra, run: vis-ros export {weights}'
        )
    _log.info('exporting %s once, to %s', beside.name, folder)
    from vis_ros.export.graph_export import export

    exported = export(
        weights,
        target,
        architecture=config.architecture,
        precision=precision,
        size=size,
        batch=batch,
        out=folder,
    )
    delete_least_recently_used(folder.parent, CACHE_LIMIT)
    return exported


def graph_cache(weights_sha256: str) -> Path:
    """The cache folder for graphs of the weights with this digest."""
    return user_cache('graphs', weights_sha256[:16])


def belongs_to(graph: Path, weights_sha256: str, digest_of: Callable[[Path], str | None] | None = None) -> bool:
    """Whether a graph exists and was exported from these weights. If it was not, the log says so.

    `digest_of` reads the digest of the weights from a graph, by default from one of a detector.
    """
    if not graph.is_file():
        return False
    try:
        digest = read_metadata(graph).weights_sha256 if digest_of is None else digest_of(graph)
        if digest == weights_sha256:
            return True
        reason = 'it was exported from other weights, or the weights are damaged'
    except ValueError as error:
        reason = str(error)
    _log.warning('ignoring %s: %s', graph, reason)
    return False
