"""Association: the probability of eq. 2 of the lecture, the cue score, and three rules that assign by it.

N detections of a frame (rows) meet M identities in memory (columns 1 .. M); column 0 stands for a new object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Columns = NDArray[np.intp]

NEW, LOST = 0, -1
"""What a detection gets instead of an identity's column: it is a new object; another detection took the identity."""


def log_probabilities(embeddings: Floats, known: Floats) -> Floats:
    """Eq. 2: log p_i(n), the log-softmax over the row [0, f_i . f_1, ..., f_i . f_M].

    Args:
        embeddings: (N, D) f_i of the detections.
        known: (M, D) f_n of the identities.

    Returns:
        (N, 1 + M) float32. Stable for dot products of any size: embeddings are not normalised and reach hundreds.
    """
    logits = np.empty((len(embeddings), 1 + len(known)), np.float32)
    logits[:, 0] = 0
    np.matmul(embeddings, known.T, out=logits[:, 1:])
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def log_of_softmax(log_probability: Floats) -> Floats:
    """What is left of log p_i(n) where the probability itself was computed in float32: -inf below about e^-103."""
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
    """The score of every pair: log p_i(n) + a log s_i + b IoU + c [same category].

    A new object has IoU 0 and category term 1: against it a wrong category loses almost always.

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
        of_detector = a * np.log(scores)[:, None] if a else np.float32(0)  # 0 times -inf is no number
        result: Floats = (log_probability + of_detector).astype(np.float32, copy=False)
    result[:, 1:] += b * iou
    np.add(result[:, 1:], c, out=result[:, 1:], where=same_category)
    result[:, 0] += c
    return result


def box_iou(boxes: Floats, others: Floats, inclusive: bool = False) -> Floats:
    """(N, M) intersection over union of boxes (N, 4) and others (M, 4), x0 y0 x1 y1.

    Args:
        boxes: (N, 4).
        others: (M, 4).
        inclusive: x1 and y1 are the last pixel and not the end, so that a width is x1 - x0 + 1 (the old convention).
    """
    extra = np.float32(inclusive)
    x0, y0, x1, y1 = np.ascontiguousarray(others.T)
    left, top, right, bottom = (boxes[:, [side]] for side in range(4))
    shared = _shared_length(left, right + extra, x0, x1 + extra)
    shared *= _shared_length(top, bottom + extra, y0, y1 + extra)
    union = (right - left + extra) * (bottom - top + extra) + (x1 - x0 + extra) * (y1 - y0 + extra)
    union -= shared
    shared /= np.maximum(union, np.float32(1e-6), out=union)
    return shared


def _shared_length(low: Floats, high: Floats, other_low: Floats, other_high: Floats) -> Floats:
    length: Floats = np.minimum(high, other_high)
    length -= np.maximum(low, other_low)
    return np.maximum(length, 0, out=length)


def assign_one_to_one(cue: Floats) -> Columns:
    """Every detection claims the column of its best score; the best claim to an identity wins it.

    A loser gets LOST and not its next best: by eq. 2 it most probably *is* the identity that it lost, so it is a second
    detection of that object, or a new one; hardly ever it is the object of its next best column.
    Unique by construction; equal claims go to the earlier row.

    Args:
        cue: (N, 1 + M) of `matching_scores`.

    Returns:
        (N,) NEW, LOST, or the column 1 .. M of the identity.
    """
    columns = cue.argmax(axis=1)
    claims = cue[np.arange(len(cue)), columns]
    strongest_first = np.argsort(-claims, kind='stable')
    _, winners = np.unique(columns[strongest_first], return_index=True)
    lost = columns != NEW
    lost[strongest_first[winners]] = False
    columns[lost] = LOST
    return columns


def assign_in_stages(
    cue: Floats, iou: Floats, recent: NDArray[np.bool_], confident: NDArray[np.bool_], weak_iou: float
) -> Columns:
    """First the confident detections claim identities, then the others those that are left (BYTE, Zhang et al. 2022).

    In the second stage the claim is the IoU: a weak detection is mostly of something half hidden, whose looks deceive.

    Args:
        cue: (N, 1 + M) of `matching_scores`.
        iou: (N, M) of the detections with the identities.
        recent: (M,) identities that a weak detection may continue.
        confident: (N,).
        weak_iou: a weak detection must overlap its identity by more.

    Returns:
        (N,) NEW, LOST, or the column 1 .. M of the identity, each identity once.
    """
    if confident.all():
        return assign_one_to_one(cue)
    columns = np.full(len(cue), NEW, np.intp)
    columns[confident] = assign_one_to_one(cue[confident])
    weak = np.flatnonzero(~confident)
    if iou.shape[1]:
        claims = np.insert(iou[weak], 0, weak_iou, axis=1)
        claims[:, 1:][:, ~recent] = 0
        claims[:, columns[columns > NEW]] = 0
        columns[weak] = assign_one_to_one(claims)
    return columns


def assign_in_turn(cue: Floats, floor: float) -> Columns:
    """The rule of the published codes: detections in the given order, each with the best column of its row.

    It gets the identity if its score exceeds that of all before it, and `floor`; it is dropped (LOST) otherwise. Who
    had the identity before keeps it too, so two detections of a frame may share one, and the order matters.
    """
    columns = cue.argmax(axis=1)
    best = np.full(cue.shape[1], floor, np.float32)
    for row, column in enumerate(columns):
        if column == NEW:
            continue
        if cue[row, column] > best[column]:
            best[column] = cue[row, column]
        else:
            columns[row] = LOST
    return columns


def new_tracks(
    columns: Columns, scores: Floats, boxes: Floats, new_track_score: float, new_track_iou: float
) -> NDArray[np.intp]:
    """The rows that begin an identity, in order: strong enough, and not a second detection of a tracked object.

    Args:
        columns: (N,) of `assign_one_to_one`; rows with NEW or LOST may begin one.
        scores: (N,).
        boxes: (N, 4).
        new_track_score: least score.
        new_track_iou: a row that overlaps one that has or begins an identity by more is a second detection of it.
    """
    tracked = columns > NEW
    candidates = np.flatnonzero(~tracked & (scores >= np.float32(new_track_score)))
    overlaps = box_iou(boxes[candidates], boxes) > new_track_iou
    born = []
    for row, overlapped in zip(candidates, overlaps, strict=True):
        if not np.any(overlapped & tracked):
            tracked[row] = True
            born.append(row)
    return np.array(born, np.intp)
