"""The published association rules, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from helpers.identity_frames import BLUE, FAR, GREEN, LEFT, RED, RIGHT, Frame, memory_with, tracks_of, update
from helpers.slow_association import slow_iou


@pytest.mark.parametrize('rule', ['paper', 'mmtracking'])
def test_two_detections_of_one_identity(rule: Any) -> None:
    """A duplicate in one order, a drop in the other; ours is the same in both."""
    worse, better = (LEFT, RED, 0.5), (LEFT, RED, 0.9)
    for config, first, second in ((rule, [1, 1], [1, 0]), ('one_to_one', [0, 1], [1, 0])):
        memory = memory_with(rule=config)
        update(memory, Frame().add(LEFT, RED), 0.0)
        assert update(memory, Frame().add(*worse).add(*better), 0.1) == first
        memory.reset()
        update(memory, Frame().add(LEFT, RED), 0.0)
        assert update(memory, Frame().add(*better).add(*worse), 0.1) == second


@pytest.mark.parametrize('rule', ['paper', 'mmtracking'])
def test_a_duplicate_counts_as_one_frame_and_leaves_the_better_detection(rule: Any) -> None:
    memory = memory_with(rule=rule)
    update(memory, Frame().add(LEFT, RED), 0.0)
    tracks = tracks_of(memory, Frame().add(LEFT, RED, 0.5).add([1, 0, 11, 10], [3, -5, -4], 0.9), 0.1)
    assert tracks.track_ids.tolist() == [1, 1] and tracks.hits.tolist() == [2, 2]
    tracks = tracks_of(memory, Frame().add(LEFT, [0.01, 0, 0]), 0.2)
    assert tracks.track_ids.tolist() == [1]
    assert tracks.match_scores == pytest.approx([1 / (1 + math.exp(-0.03))])


def test_paper_keeps_the_category_of_birth_and_mmtracking_the_latest() -> None:
    gray = [3, 0, 0]  # dot product 9: wins against a new object if the category is right, and loses if it is wrong
    for rule, expected in (('paper', [2]), ('mmtracking', [1])):
        memory = memory_with(rule=rule)
        assert update(memory, Frame().add(LEFT, [30, 0, 0], class_id=0), 0.0) == [1]
        assert update(memory, Frame().add(LEFT, gray, class_id=1), 0.1) == [1]  # 90 outweighs the category
        assert update(memory, Frame().add(FAR, gray, class_id=1), 0.2) == expected


def test_paper_counts_pixels_inclusively() -> None:
    """IoU 0.5 of the boxes, 0.6 of the pixels: it decides between two identities."""
    near, there = [0, 0, 3, 9], [1, 0, 4, 9]
    first = Frame().add(near, [1, 0]).add([50, 0, 54, 9], [0, 1])
    ious = slow_iou(near, there), slow_iou(near, there, pixel=1)
    assert ious == pytest.approx((0.5, 0.6))
    for rule, expected in (('paper', [1]), ('mmtracking', [2])):
        memory = memory_with(rule=rule)
        assert update(memory, first, 0.0) == [1, 2]
        assert update(memory, Frame().add(there, [1, 2.1]), 0.1) == expected  # 1 + 2 IoU against 2.1


def test_paper_never_forgets_and_mmtracking_does_after_twenty_frames() -> None:
    for unseen, paper, mmtracking in ((19, [1], [1]), (20, [1], [2]), (500, [1], [2])):
        for rule, expected in (('paper', paper), ('mmtracking', mmtracking)):
            memory = memory_with(rule=rule)
            update(memory, Frame().add(LEFT, RED).add(FAR, GREEN), 0.0)
            for step in range(1, unseen + 1):
                update(memory, Frame().add(FAR, GREEN), step * 10.0)
            assert update(memory, Frame().add(LEFT, RED), 1e5)[0] == (expected[0] if expected == [1] else 3)


def test_mmtracking_ages_by_empty_frames_but_forgets_only_in_others() -> None:
    memory = memory_with(rule='mmtracking', max_age_frames=5)
    update(memory, Frame().add(LEFT, RED), 0.0)
    for step in range(1, 10):
        update(memory, Frame(), step)
    assert len(memory) == 1
    assert update(memory, Frame().add(LEFT, RED), 10.0) == [1]  # associated before the old are dropped
    for step in range(11, 20):
        update(memory, Frame(), step)
    assert update(memory, Frame().add(FAR, GREEN), 20.0) == [2]
    assert len(memory) == 1


def test_paper_drops_what_scores_below_minus_hundred_and_mmtracking_does_not() -> None:
    for rule, expected in (('paper', [0]), ('mmtracking', [1])):
        memory = memory_with(rule=rule, weights=(1000, 2, 10))
        update(memory, Frame().add(LEFT, RED), 0.0)
        assert update(memory, Frame().add(LEFT, RED, 0.8), 0.1) == expected  # 1000 log 0.8 = -223


def test_mmtracking_loses_what_underflows() -> None:
    """The right category has log p = -200 and +1000, the wrong one log p = 0."""
    for rule, expected in (('paper', [1]), ('mmtracking', [2])):
        memory = memory_with(rule=rule, weights=(1, 2, 1000))
        update(memory, Frame().add(LEFT, [0, 1], class_id=0).add(RIGHT, [1, 0], class_id=1), 0.0)
        assert update(memory, Frame().add(FAR, [300, 100], class_id=0), 0.1) == expected


def test_an_empty_first_frame_is_no_frame() -> None:
    for rule in ('one_to_one', 'paper', 'mmtracking'):
        memory = memory_with(rule=rule)
        assert update(memory, Frame(), 0.0) == []
        assert update(memory, Frame().add(LEFT, RED).add(RIGHT, BLUE, 0.8), 0.1) == [1, 2]
