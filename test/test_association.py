"""Association: eq. 2 against its formula, box IoU against torchvision, the rules of assignment against slow ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vis_ros.tracking.association import (
    LOST,
    NEW,
    Floats,
    assign_in_stages,
    assign_in_turn,
    assign_one_to_one,
    log_of_softmax,
    log_probabilities,
    matching_scores,
    new_tracks,
)


def array(*values: object) -> Floats:
    return np.array(values, np.float32)


# --- eq. 2 ----------------------------------------------------------------------------------------------------------


def test_eq_2_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    embeddings, known = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(7, 8)).astype(np.float32)
    probabilities = np.exp(log_probabilities(embeddings, known))
    for i in range(5):
        dots = [math.exp(float(np.dot(embeddings[i], known[n]))) for n in range(7)]
        assert probabilities[i, 0] == pytest.approx(1 / (1 + sum(dots)), rel=1e-5)
        for n in range(7):
            assert probabilities[i, n + 1] == pytest.approx(dots[n] / (1 + sum(dots)), rel=1e-5)


def test_eq_2_without_identities_knows_only_new_objects() -> None:
    np.testing.assert_array_equal(log_probabilities(np.ones((3, 4), np.float32), np.ones((0, 4), np.float32)), 0)


@pytest.mark.parametrize('size', [20.0, 1e4])
def test_eq_2_is_stable_for_dot_products_of_any_size(size: float) -> None:
    embeddings, known = array([size, 0], [0, -size]), array([size, 0], [0, size])
    expected = torch.log_softmax(torch.tensor([[0, size**2, 0], [0, 0, -(size**2)]], dtype=torch.float64), 1)
    np.testing.assert_allclose(log_probabilities(embeddings, known), expected.numpy(), rtol=1e-6, atol=1e-6)


def test_the_softmax_of_mmtracking_underflows_as_in_torch() -> None:
    logits = torch.tensor([[0.0, 300.0, 120.0, 250.0]])
    expected = logits.softmax(1).log().numpy()
    assert np.isinf(expected).sum() == 2
    np.testing.assert_allclose(log_of_softmax(torch.log_softmax(logits, 1).numpy()), expected, rtol=1e-5)


def test_the_cue_score_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    log_p, scores = np.log(rng.random((4, 3), np.float32)), rng.random(4, np.float32)
    iou, same = rng.random((4, 2), np.float32), rng.random((4, 2)) < 0.5
    cue = matching_scores(log_p, scores, iou, same, weights=(0.5, 3, 7))
    for i in range(4):
        assert cue[i, 0] == pytest.approx(log_p[i, 0] + 0.5 * math.log(scores[i]) + 7, rel=1e-5)
        for n in range(2):
            expected = log_p[i, n + 1] + 0.5 * math.log(scores[i]) + 3 * iou[i, n] + 7 * same[i, n]
            assert cue[i, n + 1] == pytest.approx(expected, rel=1e-5)


def test_the_published_weights_are_the_default() -> None:
    cue = matching_scores(array([0, 0, 0]), array(math.exp(-1)), array([0.5, 0]), np.array([[True, False]]))
    np.testing.assert_allclose(cue, [[-1 + 10, -1 + 1 + 10, -1]], rtol=1e-6)


def test_a_score_of_zero_is_no_error() -> None:
    cue = matching_scores(array([0, 0]), array(0), array([1]), np.array([[True]]))
    assert np.isneginf(cue).all()


# --- one to one -----------------------------------------------------------------------------------------------------

CUES = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.integers(-5, 5).map(float))  # few values: many ties
)


@settings(deadline=None)
@given(CUES)
def test_one_to_one_is_the_best_claim(cue: Floats) -> None:
    claimed = cue.argmax(axis=1)
    columns = assign_one_to_one(cue)
    for row, column in enumerate(columns):
        rivals = [other for other in range(len(cue)) if claimed[other] == claimed[row]]
        best = max(cue[other, claimed[row]] for other in rivals)
        first_of_best = next(other for other in rivals if cue[other, claimed[row]] == best)
        expected = claimed[row] if claimed[row] == NEW or first_of_best == row else LOST
        assert column == expected
    given_away = columns[columns > NEW]
    assert len(set(given_away.tolist())) == len(given_away)


def test_one_to_one_by_hand() -> None:
    cue = array([0, 5, 4], [0, 7, 6], [0, -1, 3], [2, 1, -1])
    assert assign_one_to_one(cue).tolist() == [LOST, 1, 2, NEW]


# --- the published rule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('cue', 'expected'),
    [
        ([[0, 5], [0, 7]], [1, 1]),  # the better one comes later: both keep the identity
        ([[0, 7], [0, 5]], [1, LOST]),  # the better one comes first: the other is dropped
        ([[0, 5], [0, 5]], [1, LOST]),
        ([[0, 5], [0, 6], [0, 7], [0, 6]], [1, 1, 1, LOST]),
        ([[1, 0, 0], [0, 2, 1], [0, 1, 2], [3, 2, 2]], [NEW, 1, 2, NEW]),
        ([[0, 0]], [NEW]),  # on a tie the first column
    ],
)
def test_detections_in_turn(cue: list[list[float]], expected: list[int]) -> None:
    assert assign_in_turn(array(*cue), lowest=-100).tolist() == expected


def test_below_the_floor_a_detection_is_dropped() -> None:
    cue = array([-500, -200])
    assert assign_in_turn(cue, lowest=-100).tolist() == [LOST]
    assert assign_in_turn(cue, lowest=-1e6).tolist() == [1]


# --- births ---------------------------------------------------------------------------------------------------------

BOXES = array([0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [20, 1, 30, 10], [50, 0, 60, 10], [50, 0, 60, 4])


@pytest.mark.parametrize(
    ('columns', 'new_track_score', 'new_track_iou', 'expected'),
    [
        ([1, LOST, NEW, NEW, LOST, NEW], 0.5, 0.5, [2, 4]),  # 1 is tracked by 0; 3 shows what 2 begins; 5 is weak
        ([1, LOST, NEW, NEW, LOST, NEW], 0.0, 0.5, [2, 4, 5]),  # 5 overlaps 4 by 0.4
        ([1, LOST, NEW, NEW, LOST, NEW], 0.0, 0.3, [2, 4]),
        ([1, LOST, NEW, NEW, LOST, NEW], 0.5, 1.0, [1, 2, 3, 4]),
        ([1, 2, 3, 4, 5, 6], 0.0, 1.0, []),
        ([NEW] * 6, 0.95, 0.5, []),
    ],
)
def test_births(columns: list[int], new_track_score: float, new_track_iou: float, expected: list[int]) -> None:
    scores = array(0.9, 0.9, 0.8, 0.7, 0.6, 0.4)
    assert new_tracks(np.array(columns), scores, BOXES, new_track_score, new_track_iou).tolist() == expected


def test_what_overlaps_an_unborn_detection_may_be_born() -> None:
    """1 is refused because of 0, so it does not stand in the way of 2, which overlaps only 1."""
    boxes = array([0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10])
    assert new_tracks(np.array([1, NEW, NEW]), array(0.9, 0.9, 0.9), boxes, 0.5, 0.4).tolist() == [2]


# --- two stages -----------------------------------------------------------------------------------------------------


def slow_stages(cue: Floats, iou: Floats, followed: list[bool], confident: list[bool], weak_iou: float) -> list[int]:
    count, known = iou.shape
    strong = [i for i in range(count) if confident[i]]
    result = [NEW] * count
    for i, column in zip(strong, assign_one_to_one(cue[strong]).tolist(), strict=True):
        result[i] = column
    free = [n for n in range(known) if followed[n] and n + 1 not in result]
    wishes = {}
    for i in range(count):
        best = max(free, key=lambda n, i=i: (iou[i, n], -n), default=None)  # type: ignore[misc]
        if not confident[i] and best is not None and iou[i, best] > weak_iou:
            wishes[i] = best
    for i, wish in wishes.items():
        rivals = [j for j in wishes if wishes[j] == wish]
        result[i] = wish + 1 if i == max(rivals, key=lambda j, wish=wish: (iou[j, wish], -j)) else LOST  # type: ignore[misc]
    return result


def test_the_weak_get_what_the_confident_leave() -> None:
    given_weakly = refused = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        count, known = rng.integers(0, 7), rng.integers(0, 6)
        cue = rng.normal(size=(count, 1 + known)).astype(np.float32)
        iou = rng.random((count, known)).astype(np.float32)
        followed, confident = rng.random(known) < 0.7, rng.random(count) < 0.5
        columns = assign_in_stages(cue, iou, followed, confident, 0.5)
        assert columns.tolist() == slow_stages(cue, iou, followed.tolist(), confident.tolist(), 0.5), f'seed {seed}'
        given_weakly += np.count_nonzero(columns[~confident] > NEW)
        refused += np.count_nonzero(columns[~confident] == LOST)
    assert given_weakly > 100 and refused > 50
