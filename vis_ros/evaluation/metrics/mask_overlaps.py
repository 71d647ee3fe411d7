"""Mask overlaps of a frame and of a video: the numbers from which every measure is computed, without the masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from vis_ros.datasets.coco_rle import Rle, areas, decode, encode, iou
from vis_ros.datasets.video import AnnotatedFrame

MATCH_IOU = 0.5
"""Mask IoU from which a detection may match a true object in a frame (CLEAR, Identity, MOTS)."""


@dataclass(frozen=True, eq=False)
class FrameOverlaps:
    """T true objects and N detections in one frame. Empty masks are left out.

    Attributes:
        position: among the compared frames of the video.
        name: of the frame in the ground truth.
        truth_ids, truth_areas: (T,) int64.
        result_ids, result_areas: (N,) int64.
        iou: (T, N) mask IoU.
        ignored: (N,) share of each detection that is in ignored pixels; where there are crowds, in one of them.
        in_crowds: class id of the ground truth -> (N,) share of each detection in a crowd of this class; None where
            ignored pixels have no class.
    """

    position: int
    name: str
    truth_ids: NDArray[np.int64]
    truth_areas: NDArray[np.int64]
    result_ids: NDArray[np.int64]
    result_areas: NDArray[np.int64]
    iou: NDArray[np.float64]
    ignored: NDArray[np.float64]
    in_crowds: Mapping[int, NDArray[np.float64]] | None = None

    def only(self, truth: NDArray[np.bool_], results: NDArray[np.bool_]) -> FrameOverlaps:
        """Only the true objects and detections selected by (T,) and (N,)."""
        return replace(
            self,
            truth_ids=self.truth_ids[truth],
            truth_areas=self.truth_areas[truth],
            result_ids=self.result_ids[results],
            result_areas=self.result_areas[results],
            iou=self.iou[truth][:, results],
            ignored=self.ignored[results],
            in_crowds=self.in_crowds and {number: shares[results] for number, shares in self.in_crowds.items()},
        )

    def of_class(self, truth: NDArray[np.bool_], results: NDArray[np.bool_], class_ids: set[int]) -> FrameOverlaps:
        """`only`, and of the crowds only those of these classes."""
        if self.in_crowds is None:
            return self.only(truth, results)
        own = [shares for number, shares in self.in_crowds.items() if number in class_ids]
        return replace(self, ignored=np.max([np.zeros(len(self.result_ids)), *own], 0)).only(truth, results)

    @property
    def intersections(self) -> NDArray[np.int64]:
        """(T, N) shared pixels: with an IoU of i and a sum of areas s, these are s * i / (1 + i)."""
        sums = self.truth_areas[:, None] + self.result_areas
        return np.rint(sums * self.iou / (1 + self.iou)).astype(np.int64)


def measure(position: int, truth: AnnotatedFrame, results: AnnotatedFrame | None) -> FrameOverlaps:
    """The overlaps of one frame. Without results nothing was found."""
    truth_masks, truth_ids = list(truth.masks), truth.track_ids
    result_masks, result_ids = (list(results.masks), results.track_ids) if results is not None else ([], _NONE)
    in_crowds = _shares_in_crowds(truth, result_masks)
    frame = FrameOverlaps(
        position=position,
        name=truth.name,
        truth_ids=truth_ids,
        truth_areas=areas(truth_masks),
        result_ids=result_ids,
        result_areas=areas(result_masks),
        iou=iou(result_masks, truth_masks).T,
        ignored=_share_in(truth.ignored, result_masks) if in_crowds is None else _largest(in_crowds),
        in_crowds=in_crowds,
    )
    if (frame.truth_areas > 0).all() and (frame.result_areas > 0).all():
        return frame
    return frame.only(frame.truth_areas > 0, frame.result_areas > 0)


_NONE = np.zeros(0, np.int64)


def _share_in(region: Rle | None, masks: Sequence[Rle]) -> NDArray[np.float64]:
    if region is None or not masks:
        return np.zeros(len(masks))
    # With the crowd flag, COCO's IoU is the intersection divided by the area of the mask.
    return np.nan_to_num(coco.iou(list(masks), [region], [1])).reshape(-1)


def _shares_in_crowds(truth: AnnotatedFrame, masks: Sequence[Rle]) -> dict[int, NDArray[np.float64]] | None:
    if not truth.crowds:
        return None
    shares: dict[int, NDArray[np.float64]] = {}
    for class_id, crowd in truth.crowds:
        shares[class_id] = np.maximum(shares.get(class_id, 0.0), _share_in(crowd, masks))
    return shares


def _largest(shares: dict[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack([*shares.values()]).max(axis=0)


def without_ignored_pixels(
    truth: AnnotatedFrame, results: AnnotatedFrame | None
) -> tuple[AnnotatedFrame, AnnotatedFrame | None]:
    """Both frames without the ignored pixels of the ground truth; the frames themselves if there are none."""
    region = truth.ignored
    if region is None or not areas([region])[0]:
        return truth, results
    return _cut(truth, region), None if results is None else _cut(results, region)


def _cut(frame: AnnotatedFrame, region: Rle) -> AnnotatedFrame:
    outside = decode(region) == 0
    shares = _share_in(region, frame.masks)
    masks = [encode(decode(mask) & outside) if share else mask for mask, share in zip(frame.masks, shares, strict=True)]
    return replace(frame, masks=masks)


@dataclass(frozen=True, eq=False)
class VideoOverlaps:
    """The overlaps of a video, in frame order. With a subset of its objects, frames without any of them are left out.

    Attributes:
        length: number of all compared frames.
        frames: overlaps of the complete masks.
        seen: overlaps of the masks without ignored pixels; the same list if there are none.
    """

    length: int
    frames: Sequence[FrameOverlaps]
    seen: Sequence[FrameOverlaps]

    @cached_property
    def truth_ids(self) -> NDArray[np.int64]:
        """(T,) ids of all true objects, ascending."""
        return _distinct(frame.truth_ids for frame in self.frames)

    @cached_property
    def result_ids(self) -> NDArray[np.int64]:
        """(N,) ids of all predicted tracks, ascending."""
        return _distinct(frame.result_ids for frame in self.frames)

    def truth_rows(self, frame: FrameOverlaps) -> NDArray[np.intp]:
        """Positions of the true objects of a frame in `truth_ids`."""
        return np.searchsorted(self.truth_ids, frame.truth_ids)

    def result_columns(self, frame: FrameOverlaps) -> NDArray[np.intp]:
        """Positions of the detections of a frame in `result_ids`."""
        return np.searchsorted(self.result_ids, frame.result_ids)


def _distinct(ids: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([_NONE, *ids]))


def by_class(
    video: VideoOverlaps,
    truth_classes: Mapping[int, str],
    result_classes: Mapping[int, str],
    class_names: Sequence[str] = (),
) -> dict[str, VideoOverlaps]:
    """Split a video by class name.

    Args:
        video: to split.
        truth_classes, result_classes: the class of each true object and of each predicted track.
        class_names: of the class ids of the ground truth, for crowds; several ids may have the same name.
    """
    frames = seen = _frames_by_class(video.frames, truth_classes, result_classes, class_names)
    if video.seen is not video.frames:
        seen = _frames_by_class(video.seen, truth_classes, result_classes, class_names)
    return {name: VideoOverlaps(video.length, frames[name], seen.get(name, [])) for name in frames}


def _frames_by_class(
    frames: Iterable[FrameOverlaps],
    truth_classes: Mapping[int, str],
    result_classes: Mapping[int, str],
    class_names: Sequence[str],
) -> dict[str, list[FrameOverlaps]]:
    parts: dict[str, list[FrameOverlaps]] = defaultdict(list)
    for frame in frames:
        truth = np.array([truth_classes[number] for number in frame.truth_ids.tolist()], object)
        results = np.array([result_classes[number] for number in frame.result_ids.tolist()], object)
        for name in {*truth, *results}:
            own_ids = {number for number, own in enumerate(class_names) if own == name}
            parts[name].append(frame.of_class(truth == name, results == name, own_ids))
    return parts


def without_ignored_results(video: VideoOverlaps) -> VideoOverlaps:
    """Remove detections from `frames` that match no true object and are more than half in ignored pixels.

    This is the rule of MOTS (Voigtlaender et al. 2019, section 4): detections are first matched to true objects in each
    frame, and only those without a match can be ignored.
    """
    frames = []
    for frame in video.frames:
        inside = frame.ignored > 0.5
        if inside.any():
            allowed = np.where(frame.iou >= MATCH_IOU, frame.iou, 0.0)
            rows, columns = linear_sum_assignment(allowed, maximize=True)
            inside[columns[allowed[rows, columns] > 0]] = False
            frame = frame.only(np.ones(len(frame.truth_ids), bool), ~inside)
        frames.append(frame)
    return replace(video, frames=frames)
