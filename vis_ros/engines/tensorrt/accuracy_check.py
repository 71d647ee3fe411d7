"""Parity check: does an engine find in reference frames what the same weights find in fp32 on the processor?"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.masks.iou import box_iou, mask_iou
from vis_ros.synthetic.scene import Scene

LEAST_SHARE = 0.9
"""Of the confident detections must match."""
LEAST_IOU = 0.8
"""Of the masks and of the boxes of a match."""
LEAST_COSINE = 0.9
"""Of the embeddings of a match."""

_MARGIN = 0.05
"""A detection is confident if its score is over the threshold by so much: rounding does not lose it."""
_FRAMES = ((1, 30), (2, 130), (3, 230), (4, 280))
"""Seed and number of the frames of `vis_ros.synthetic.scene.Scene`."""

Image = NDArray[np.uint8]
Infer = Callable[[Sequence[Image]], list[Instances]]

_log = logging.getLogger(__name__)


def reference_frames(size: tuple[int, int]) -> list[Image]:
    """Images (height, width, 3) BGR, the same every time."""
    return [Scene(seed, size).frame(number).image for seed, number in _FRAMES]


def check_parity(infer: Infer, reference: Infer, size: tuple[int, int], threshold: float, stored: Path) -> str:
    """Compare an engine with a reference.

    Args:
        infer: of the engine.
        reference: what to compare with; called only where `stored` does not have its answer.
        size: (height, width) of the frames.
        threshold: of the scores of both.
        stored: a file that keeps the frames and the answer of the reference from start to start.

    Returns:
        A note where the check could not say anything, else ''.

    Raises:
        ValueError: they do not agree; with the numbers.
    """
    answered = _load(stored)
    if answered is None:
        frames = reference_frames(size)
        expected = reference(frames)
        _store(stored, frames, expected)
    else:
        frames, expected = answered
    total, matched = count_matches(infer(frames), expected, threshold + _MARGIN)
    if not total:
        return 'the parity check says nothing: neither engine finds a confident object in the reference frames'
    if matched < LEAST_SHARE * total:
        raise ValueError(
            f'only {matched} of {total} confident detections in the reference frames agree with those of the same '
            f'weights in fp32 on the processor (class, box and mask IoU {LEAST_IOU}, embedding cosine {LEAST_COSINE}); '
            f'{LEAST_SHARE:.0%} must. The engine would publish garbage and is refused: try precision fp32, or '
            'accuracy_check false to see what it does'
        )
    _log.info('parity: %d of %d confident detections in the reference frames agree', matched, total)
    return ''


def count_matches(
    found: list[Instances], expected: list[Instances], confident: float, least_iou: float = LEAST_IOU
) -> tuple[int, int]:
    """How many confident detections there are on both sides together, and how many have their like on the other.

    A detection on the verge of the threshold may be absent on the other side, so it is no fault if it has no like, but
    it may be one.
    """
    total = matched = 0
    for ours, theirs in zip(found, expected, strict=True):
        alike = _alike(ours, theirs, least_iou)
        for confidents, has_like in (
            (ours.scores >= confident, alike.any(1)),
            (theirs.scores >= confident, alike.any(0)),
        ):
            total += int(confidents.sum())
            matched += int((confidents & has_like).sum())
    return total, matched


def _alike(ours: Instances, theirs: Instances, least_iou: float) -> NDArray[np.bool_]:
    """(N, M): which detections are the same."""
    alike = np.zeros((len(ours), len(theirs)), bool)
    boxes_overlap = box_iou(ours.boxes, theirs.boxes) >= least_iou
    for i in range(len(ours)):
        for j in range(len(theirs)):
            alike[i, j] = (
                ours.class_ids[i] == theirs.class_ids[j]
                and boxes_overlap[i, j]
                and mask_iou(ours.masks[i], ours.rois[i], theirs.masks[j], theirs.rois[j]) >= least_iou
                and _cosine(ours, i, theirs, j) >= LEAST_COSINE
            )
    return alike


def _cosine(ours: Instances, i: int, theirs: Instances, j: int) -> float:
    assert ours.embeddings is not None
    assert theirs.embeddings is not None
    a, b = ours.embeddings[i], theirs.embeddings[j]
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


# --- the stored answer ------------------------------------------------------------------------------------------------

_FIELDS = ('boxes', 'scores', 'class_ids', 'rois', 'embeddings')


def _store(path: Path, frames: list[Image], expected: list[Instances]) -> None:
    """Where it cannot be written, the reference is asked again at the next start."""
    arrays: dict[str, Any] = {'frames': np.stack(frames)}
    for index, found in enumerate(expected):
        arrays |= {f'{name}{index}': getattr(found, name) for name in _FIELDS}
        arrays[f'masks{index}'] = np.concatenate([np.zeros(0, np.uint8), *(mask.ravel() for mask in found.masks)])
    partial = path.with_name(f'{path.name}.{os.getpid()}.part.npz')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, **arrays)
        partial.replace(path)
    except OSError as error:
        _log.debug('the reference detections cannot be kept: %s', error)


def _load(path: Path) -> tuple[list[Image], list[Instances]] | None:
    try:
        with np.load(path) as file:
            frames = list(file['frames'])
            return frames, [_instances(file, index, frame.shape[:2]) for index, frame in enumerate(frames)]
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever numpy and zipfile make of a damaged file
        _log.warning('the reference detections %s are made again: %r', path, error)
        return None


def _instances(file: np.lib.npyio.NpzFile, index: int, image_size: tuple[int, int]) -> Instances:
    values = {name: file[f'{name}{index}'] for name in _FIELDS}
    rois = values['rois']
    ends = np.cumsum((rois[:, 3] - rois[:, 1]) * (rois[:, 2] - rois[:, 0]))
    masks = np.split(file[f'masks{index}'], ends)[: len(rois)]
    return Instances(
        image_size=image_size,
        masks=[mask.reshape(roi[3] - roi[1], roi[2] - roi[0]) for mask, roi in zip(masks, rois, strict=True)],
        **values,
    )
