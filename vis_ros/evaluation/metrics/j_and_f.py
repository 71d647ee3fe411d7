"""Region similarity J and contour accuracy F of DAVIS, unsupervised (Caelles et al. 2019): each true object with the
predicted track that fits it best.

Both are means over all frames of a video, and 1 in a frame that shows neither the object nor its track. Unlike in
DAVIS, a track that never overlaps an object is not assigned to it, and an object without a track scores 0 in all
frames, including those that do not show it. Otherwise results in which nothing is found would score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vis_ros.datasets.coco_rle import Rle, areas
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.evaluation.metrics.boundary import boundary_f
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, without_ignored_pixels


@dataclass(frozen=True)
class Assignment:
    """The predicted track assigned to a true object, or None, and J: the mean IoU over all frames."""

    object_id: int
    result_id: int | None
    j: float

    @property
    def pair(self) -> tuple[int, int] | None:
        """(object id, id of the predicted track); None without a track."""
        return None if self.result_id is None else (self.object_id, self.result_id)


def assign(video: VideoOverlaps) -> list[Assignment]:
    """Assign predicted tracks to true objects one to one, such that the mean J is largest. Sorted by object id."""
    truth, results = np.zeros(len(video.truth_ids)), np.zeros(len(video.result_ids))
    iou, together = (np.zeros((len(truth), len(results))) for _ in range(2))
    for frame in video.seen:
        rows, columns = video.truth_rows(frame), video.result_columns(frame)
        truth[rows] += 1
        results[columns] += 1
        iou[np.ix_(rows, columns)] += frame.iou
        together[np.ix_(rows, columns)] += 1
    neither = video.length - (truth[:, None] + results - together)
    j = np.where(iou > 0, (iou + neither) / video.length, 0.0)
    rows, columns = linear_sum_assignment(j, maximize=True)
    chosen = {row: column for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if j[row, column]}
    return [
        Assignment(int(number), int(video.result_ids[chosen[row]]), float(j[row, chosen[row]]))
        if row in chosen
        else Assignment(int(number), None, 0.0)
        for row, number in enumerate(video.truth_ids)
    ]


def frame_f(
    frames: Iterable[tuple[AnnotatedFrame, AnnotatedFrame | None]], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], list[float]]:
    """(object id, track id) -> F in each frame: 0 where only one of the two is visible, 1 where neither is."""
    values: dict[tuple[int, int], list[float]] = {pair: [] for pair in sorted(set(pairs))}
    for both in frames:
        truth, results = (dict(_visible(frame)) for frame in without_ignored_pixels(*both))
        for (object_id, result_id), of_pair in values.items():
            if object_id in truth and result_id in results:
                of_pair.append(boundary_f(truth[object_id], results[result_id]))
            else:
                of_pair.append(float(object_id not in truth and result_id not in results))
    return values


def mean_f(
    frames: Iterable[tuple[AnnotatedFrame, AnnotatedFrame | None]], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """(object id, track id) -> mean of `frame_f` over all frames."""
    return {pair: sum(values) / len(values) for pair, values in frame_f(frames, pairs).items()}


def _visible(frame: AnnotatedFrame | None) -> Iterator[tuple[int, Rle]]:
    if frame is not None:
        for number, mask, area in zip(frame.track_ids.tolist(), frame.masks, areas(frame.masks), strict=True):
            if area:
                yield number, mask
