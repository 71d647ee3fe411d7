"""Association: the probability and the matching score of MaskTrack R-CNN (Yang et al. 2019), and rules that assign by
it.

N detections of a frame (rows) meet M tracks in memory (columns 1 .. M); column 0 stands for a new object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.iou import box_iou

Floats = NDArray[np.float32]
Columns = NDArray[np.intp]

NEW, LOST = 0, -1
"""Instead of the column of a track: the detection is a new object, or another detection took its track."""


def log_probabilities(embeddings: Floats, known: Floats) -> Floats:
    """Eq. 2 of MaskTrack R-CNN: log p_i(n), the log-softmax over the row [0, f_i . f_1, ..., f_i . f_M].

    Args:
        embeddings: (N, D) f_i of the detections.
        known: (M, D) f_n of the tracks.

    Returns:
        (N, 1 + M) float32. Stable for dot products of any size: embeddings are not normalized and reach hundreds.
    """
    logits = np.empty((len(embeddings), 1 + len(known)), np.float32)
    logits[:, 0] = 0
    np.matmul(embeddings, known.T, out=logits[:, 1:])
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def log_of_softmax(log_probability: Floats) -> Floats:
    """Log p_i(n) as a code gets it that computes the probability itself in float32: -inf below about e^-103."""
    with np.errstate(divide='ignore'):
        result: Floats = np.log(np.exp(log_probability))
    return result


def matching_scores(
    log_probability: Floats,
    scores: Floats,
    iou: Floats,
    same_category: NDArray[np.bool_],
    weights: tuple[float, float, float] = (1.0, 2.0, 10.0),
) -> Floats:
    """Matching score of every pair, combining cues as MaskTrack R-CNN does at inference: log p_i(n) + a log s_i + b IoU
    + c [same category].

    A new object has IoU 0 and category term 1, so with large c a wrong category almost always loses against it.

    Args:
        log_probability: (N, 1 + M) of `log_probabilities`.
        scores: (N,) s_i of the detector, in [0, 1].
        iou: (N, M) of the boxes.
        same_category: (N, M).
        weights: a, b, c; the published values are the default.

    Returns:
        (N, 1 + M) float32; -inf in the row of a detection of score 0 where a is not 0.
    """
    a, b, c = (np.float32(weight) for weight in weights)
    with np.errstate(divide='ignore'):
        of_detector = a * np.log(scores)[:, None] if a else np.float32(0)  # 0 * -inf is NaN
        result: Floats = (log_probability + of_detector).astype(np.float32, copy=False)
    result[:, 1:] += b * iou
    np.add(result[:, 1:], c, out=result[:, 1:], where=same_category)
    result[:, 0] += c
    return result


def assign_one_to_one(scores: Floats) -> Columns:
    """Greedy one-to-one assignment: every detection bids for its best column, and the highest bid for a track wins it.

    A detection that is outbid gets LOST and not its second best: by eq. 2 it most probably *is* the object that it
    lost, so it is a second detection of that object, or a new object, but hardly ever the object of its second best
    column. Each track is assigned once; of equal bids the earlier row wins.

    Args:
        scores: (N, 1 + M) of `matching_scores`.

    Returns:
        (N,) NEW, LOST, or the column 1 .. M of the track.
    """
    columns = scores.argmax(axis=1)
    bids = scores[np.arange(len(scores)), columns]
    strongest_first = np.argsort(-bids, kind='stable')
    _, winners = np.unique(columns[strongest_first], return_index=True)
    lost = columns != NEW
    lost[strongest_first[winners]] = False
    columns[lost] = LOST
    return columns


def assign_in_stages(
    scores: Floats, iou: Floats, recent: NDArray[np.bool_], confident: NDArray[np.bool_], weak_iou: float
) -> Columns:
    """Assign the confident detections first, then the weak ones to the remaining tracks (ByteTrack, Zhang et al. 2022).

    The second stage assigns by IoU: a weak detection mostly shows a half-hidden object, whose embedding is unreliable.

    Args:
        scores: (N, 1 + M) of `matching_scores`.
        iou: (N, M) of the detections with the tracks.
        recent: (M,) tracks that a weak detection may continue.
        confident: (N,).
        weak_iou: a weak detection must overlap its track by more than this.

    Returns:
        (N,) NEW, LOST, or the column 1 .. M of the track, each track once.
    """
    if confident.all():
        return assign_one_to_one(scores)
    columns = np.full(len(scores), NEW, np.intp)
    columns[confident] = assign_one_to_one(scores[confident])
    weak = np.flatnonzero(~confident)
    if iou.shape[1]:
        bids = np.insert(iou[weak], 0, weak_iou, axis=1)
        bids[:, 1:][:, ~recent] = 0
        bids[:, columns[columns > NEW]] = 0
        columns[weak] = assign_one_to_one(bids)
    return columns


def assign_in_turn(scores: Floats, lowest: float) -> Columns:
    """The rule of the published codes: detections in the given order, each with the best column of its row.

    A detection gets the track if its score exceeds `lowest` and those of all detections before it that got this track;
    otherwise it is dropped (LOST). The earlier ones keep the track too, so two detections of a frame may share one, and
    the result depends on the order.
    """
    columns = scores.argmax(axis=1)
    best = np.full(scores.shape[1], lowest, np.float32)
    for row, column in enumerate(columns):
        if column == NEW:
            continue
        if scores[row, column] > best[column]:
            best[column] = scores[row, column]
        else:
            columns[row] = LOST
    return columns


def new_tracks(
    columns: Columns, scores: Floats, boxes: Floats, new_track_score: float, new_track_iou: float
) -> NDArray[np.intp]:
    """The rows that start a track, in order: strong enough, and not a second detection of a tracked object.

    Args:
        columns: (N,) of `assign_one_to_one`; rows with NEW or LOST may start a track.
        scores: (N,).
        boxes: (N, 4).
        new_track_score: minimum score.
        new_track_iou: a row that overlaps a tracked row by more than this IoU is a second detection of its object.
    """
    tracked = columns > NEW
    candidates = np.flatnonzero(~tracked & (scores >= np.float32(new_track_score)))
    overlaps = box_iou(boxes[candidates], boxes) > new_track_iou
    starting = []
    for row, overlapped in zip(candidates, overlaps, strict=True):
        if not np.any(overlapped & tracked):
            tracked[row] = True
            starting.append(row)
    return np.array(starting, np.intp)
