"""Accuracy check: compares the detections of an engine with those of the same weights in fp32."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vis_ros
from vis_ros.engines.engine import Engine
from vis_ros.instances import Instances
from vis_ros.masks.iou import box_iou, mask_iou
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import read_config
from vis_ros.synthetic.scene import Scene
from vis_ros.user_cache import user_cache
from vis_ros.whole_file import whole_file

MIN_MATCHED_SHARE = 0.9
"""Share of the confident detections that must match."""
MIN_IOU = 0.8
"""Minimum IoU of the boxes and of the masks of a match."""
MIN_COSINE = 0.9
"""Minimum cosine similarity of the embeddings of a match."""

_CONFIDENT_MARGIN = 0.05
"""A detection is confident if its score exceeds the threshold by this: rounding does not push it below."""
_REFERENCE_FRAMES = ((1, 30), (2, 130), (3, 230), (4, 280))
"""Seed and frame number in `vis_ros.synthetic.scene.Scene`."""

Image = NDArray[np.uint8]
Infer = Callable[[Sequence[Image]], list[Instances]]

_log = logging.getLogger(__name__)


class InaccurateEngineError(ValueError):
    """The detections of an engine differ too much from the reference. finding: the numbers, without advice."""

    def __init__(self, finding: str) -> None:
        super().__init__(
            f'{finding}. The engine is rejected: try precision fp32, or set accuracy_check to false to see its results'
        )
        self.finding = finding


def comparison_threshold(path: Path, config: ModelConfig) -> float:
    """The score threshold from which detections are compared: that of the settings, but not below that of the model.

    A threshold that a user lowers lets in detections that are mostly noise, which rounding changes in any network.

    Args:
        path: model file.
        config: of the model, with the settings of the engine.
    """
    return max(config.score_threshold, read_config(path, config.architecture).score_threshold)


def keep_if_accurate(
    engine: Engine,
    requested: str,
    in_fp32: Callable[[str], Engine],
    stored: Path,
    threshold: float,
) -> Engine:
    """The engine, unless it computes in a reduced precision that does not keep the results.

    Args:
        engine: what was loaded.
        requested: the precision that was asked for. 'auto' falls back to fp32, also if the check cannot decide.
        in_fp32: loads the same engine in fp32, with a note that says why.
        stored: see `reference_file`.
        threshold: see `comparison_threshold`.

    Raises:
        InaccurateEngineError: a precision that was named does not keep the results.
    """
    precision = engine.describe().precision
    if precision == 'fp32':
        return engine
    try:
        doubt = check_accuracy(
            engine.infer, lambda images: in_fp32('').infer(images), engine.input_size, threshold, stored
        )
    except InaccurateEngineError as error:
        if requested != 'auto':
            raise
        doubt = error.finding
    if doubt and requested == 'auto':
        return in_fp32(f'fp32 is used instead of {precision}: {doubt}')
    if doubt:
        _log.warning('%s: %s', precision, doubt)
    return engine


def reference_file(weights_sha256: str, config: ModelConfig, size: tuple[int, int]) -> Path:
    """Where the detections of the reference for a model, its settings and a size of the frames are stored."""
    content = f'{vis_ros.__version__} {weights_sha256} {config.to_json()} {size}'
    return user_cache('accuracy_check') / f'{hashlib.sha256(content.encode()).hexdigest()[:16]}.npz'


def reference_frames(size: tuple[int, int]) -> list[Image]:
    """Synthetic images (height, width, 3) BGR, the same every time."""
    return [Scene(seed, size).frame(number).image for seed, number in _REFERENCE_FRAMES]


def check_accuracy(infer: Infer, reference: Infer, size: tuple[int, int], threshold: float, stored: Path) -> str:
    """Compare an engine with a reference on four synthetic frames.

    Args:
        infer: runs the engine.
        reference: runs the reference; called only if its result is not stored yet.
        size: (height, width) of the frames.
        threshold: see `comparison_threshold`.
        stored: file in which the frames and the detections of the reference are kept.

    Returns:
        A note if the check could not decide, else ''.

    Raises:
        InaccurateEngineError: the detections differ too much.
    """
    loaded = _load(stored)
    if loaded is None:
        frames = reference_frames(size)
        expected = reference(frames)
        _store(stored, frames, expected)
    else:
        frames, expected = loaded
    total, matched = count_matches(infer(frames), expected, threshold + _CONFIDENT_MARGIN)
    if not total:
        return 'the accuracy check is inconclusive: there is no confident detection in the reference frames'
    if matched < MIN_MATCHED_SHARE * total:
        raise InaccurateEngineError(
            f'accuracy check failed: only {matched} of {total} confident detections in the reference frames match '
            f'those of the same weights in fp32 (same class, box and mask IoU of at least {MIN_IOU}, '
            f'embedding cosine of at least {MIN_COSINE}); at least {MIN_MATCHED_SHARE:.0%} must'
        )
    _log.info('accuracy check: %d of %d confident detections in the reference frames match', matched, total)
    return ''


def count_matches(
    found: list[Instances], expected: list[Instances], confident: float, min_iou: float = MIN_IOU
) -> tuple[int, int]:
    """The number of confident detections on both sides together, and how many of them match one on the other side.

    The match itself may be below `confident`: a detection close to the threshold may be missing on one side, so it is
    not counted, but it can be the match of a confident one.

    Args:
        found, expected: detections of each image.
        confident: minimum score of the detections that count.
        min_iou: minimum IoU of the boxes and of the masks of a match.
    """
    total = matched = 0
    for ours, theirs in zip(found, expected, strict=True):
        matches = _matches(ours, theirs, min_iou)
        for is_confident, has_match in (
            (ours.scores >= confident, matches.any(1)),
            (theirs.scores >= confident, matches.any(0)),
        ):
            total += int(is_confident.sum())
            matched += int((is_confident & has_match).sum())
    return total, matched


def _matches(ours: Instances, theirs: Instances, min_iou: float) -> NDArray[np.bool_]:
    """(N, M) which of N detections match which of M others."""
    matches = np.zeros((len(ours), len(theirs)), bool)
    boxes_overlap = box_iou(ours.boxes, theirs.boxes) >= min_iou
    for i in range(len(ours)):
        for j in range(len(theirs)):
            matches[i, j] = (
                ours.class_ids[i] == theirs.class_ids[j]
                and boxes_overlap[i, j]
                and mask_iou(ours.masks[i], ours.rois[i], theirs.masks[j], theirs.rois[j]) >= min_iou
                and _cosine(ours, i, theirs, j) >= MIN_COSINE
            )
    return matches


def _cosine(ours: Instances, i: int, theirs: Instances, j: int) -> float:
    assert ours.embeddings is not None
    assert theirs.embeddings is not None
    a, b = ours.embeddings[i], theirs.embeddings[j]
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


# --- stored reference -------------------------------------------------------------------------------------------------

_FIELDS = ('boxes', 'scores', 'class_ids', 'rois', 'embeddings')


def _store(path: Path, frames: list[Image], expected: list[Instances]) -> None:
    """Write the reference. If that fails, the reference runs again at the next start."""
    arrays: dict[str, Any] = {'frames': np.stack(frames)}
    for index, found in enumerate(expected):
        arrays |= {f'{name}{index}': getattr(found, name) for name in _FIELDS}
        arrays[f'masks{index}'] = np.concatenate([np.zeros(0, np.uint8), *(mask.ravel() for mask in found.masks)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open('wb') as file:
            np.savez(file, **arrays)
    except OSError as error:
        _log.debug('cannot store the reference detections: %s', error)


def _load(path: Path) -> tuple[list[Image], list[Instances]] | None:
    try:
        with np.load(path) as file:
            frames = list(file['frames'])
            return frames, [_load_instances(file, index, frame.shape[:2]) for index, frame in enumerate(frames)]
    except FileNotFoundError:
        return None
    except Exception as error:  # numpy and zipfile raise many kinds of errors for a damaged file
        _log.warning('cannot read the reference detections %s, computing them again: %r', path, error)
        return None


def _load_instances(file: np.lib.npyio.NpzFile, index: int, image_size: tuple[int, int]) -> Instances:
    values: dict[str, Any] = {name: file[f'{name}{index}'] for name in _FIELDS}
    rois = values['rois']
    ends = np.cumsum((rois[:, 3] - rois[:, 1]) * (rois[:, 2] - rois[:, 0]))
    masks = np.split(file[f'masks{index}'], ends)[: len(rois)]
    return Instances(
        image_size=image_size,
        masks=[mask.reshape(roi[3] - roi[1], roi[2] - roi[0]) for mask, roi in zip(masks, rois, strict=True)],
        **values,
    )
