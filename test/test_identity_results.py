"""What an identity memory tells about its tracks, and which detections it refuses."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.identity_frames import BLUE, FAR, LEFT, RED, RIGHT, Frame, memory_with, tracks_of, update
from numpy.typing import NDArray

from vis_ros.instances import CONFIRMED, TENTATIVE
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.identity_memory import IdentityMemory
from vis_ros.tracking.published_memory import PublishedConfig

# --- what it tells --------------------------------------------------------------------------------------------------


def test_match_scores_are_the_probabilities_of_eq_2() -> None:
    memory = IdentityMemory()
    tracks = tracks_of(memory, Frame().add(LEFT, [1, 0, 0]).add(RIGHT, [0, 1, 0], 0.8), 0.0)
    assert tracks.match_scores.tolist() == [1, 1]
    frame = Frame().add(LEFT, [2, 1, 0]).add(FAR, [-9, -9, 0]).add([0, 0, 10, 9], [2, 1, 0], 0.1)
    tracks = tracks_of(memory, frame, 0.1)
    assert tracks.track_ids.tolist() == [1, 3, 0]
    probability = math.exp(2) / (1 + math.exp(2) + math.exp(1))
    np.testing.assert_allclose(tracks.match_scores, [probability, 1, 0], rtol=1e-6)
    assert tracks.match_scores.dtype == np.float32
    assert tracks_of(memory, Frame(), 0.2).match_scores.shape == (0,)


@pytest.mark.parametrize('rule', ['one_to_one', 'paper', 'mmtracking'])
def test_tracks_have_hits_state_and_first_stamp(rule: str) -> None:
    memory = memory_with(rule, min_hits=2)
    update(memory, Frame().add(LEFT, RED), 1.5)
    tracks = tracks_of(memory, Frame().add(RIGHT, BLUE, 0.8).add(LEFT, RED), 1.6)
    assert tracks.track_ids.tolist() == [2, 1]
    assert tracks.hits.tolist() == [1, 2]
    assert tracks.states.tolist() == [TENTATIVE, CONFIRMED]
    assert tracks.first_seen.tolist() == [1.6, 1.5]
    assert [str(tracks.hits.dtype), str(tracks.states.dtype)] == ['uint32', 'uint8']
    update(memory, Frame().add(LEFT, RED).add(RIGHT, BLUE), 1.7)
    assert tracks.hits.tolist() == [1, 2]  # a copy


def test_a_detection_without_a_track_has_no_hits() -> None:
    tracks = tracks_of(memory_with(), Frame().add(LEFT, RED, 0.1).add(RIGHT, BLUE), 0.0)
    assert tracks.track_ids.tolist() == [0, 1] and tracks.hits.tolist() == [0, 1]


def test_reset_deletes_every_track_and_counts_from_one_again() -> None:
    memory = IdentityMemory()
    update(memory, Frame().add(LEFT, RED).add(RIGHT, BLUE, 0.8), 100.0)
    assert len(memory) == 2
    memory.reset()
    assert len(memory) == 0
    assert update(memory, Frame().add(RIGHT, [1.0] * 5), 3.0) == [1]  # an earlier stamp, another size of embedding


# --- bad input ------------------------------------------------------------------------------------------------------

NAN = float('nan')
GOOD = Frame().add(LEFT, RED).add(RIGHT, BLUE, 0.8)


def spoiled(name: str, value: Any) -> Frame:
    frame = GOOD.permuted([0, 1])
    getattr(frame, name)[1] = value
    return frame


@pytest.mark.parametrize(
    ('frame', 'stamp', 'message'),
    [
        (spoiled('boxes', [0, NAN, 1, 1]), 1.0, r'boxes\[1\] is \[0.0, nan, 1.0, 1.0\]'),
        (spoiled('boxes', [0, 0, 1e20, 1]), 1.0, r'boxes\[1\]'),
        (spoiled('scores', NAN), 1.0, r'scores\[1\] is nan'),
        (spoiled('scores', -0.5), 1.0, r'scores\[1\] is -0.5'),
        (spoiled('scores', 1.5), 1.0, r'scores\[1\] is 1.5'),
        (spoiled('embeddings', [0, NAN, 0]), 1.0, r'embeddings\[1\] is not finite'),
        (spoiled('embeddings', [0, 1e30, 0]), 1.0, r'embeddings\[1\] is .* far too large'),
        (replace(GOOD, boxes=[LEFT]), 1.0, r'boxes have shape \(1, 4\), expected \(2, 4\) for 2 scores'),
        (replace(GOOD, class_ids=[1, 2, 3]), 1.0, r'class_ids have shape \(3,\), expected \(2,\)'),
        (replace(GOOD, embeddings=[RED]), 1.0, r'embeddings have shape \(1, 3\), expected \(2, D\)'),
        (replace(GOOD, embeddings=[[1, 2], [3, 4]]), 1.0, r'embeddings have 2 numbers, those .* in memory have 3'),
        (GOOD, 0.2, r'stamp 0\.200000000 s is before 0\.500000000 s.*reset'),
        (GOOD, NAN, r'stamp nan is not a time'),
        (GOOD, math.inf, r'stamp inf is not a time'),
    ],
)
@pytest.mark.parametrize('rule', ['one_to_one', 'mmtracking'])
def test_bad_input_is_refused_and_does_no_harm(rule: Any, frame: Frame, stamp: float, message: str) -> None:
    memory, untouched = memory_with(rule=rule), memory_with(rule=rule)
    for each in (memory, untouched):
        update(each, GOOD, 0.5)
    before = pickle.dumps(memory)
    with pytest.raises(ValueError, match=message):
        update(memory, frame, stamp)
    assert pickle.dumps(memory) == before
    assert update(memory, GOOD, 1.0) == update(untouched, GOOD, 1.0) == [1, 2]


def test_equal_stamps_are_taken() -> None:
    memory = IdentityMemory()
    assert [update(memory, GOOD, 0.0) for _ in range(3)] == [[1, 2]] * 3


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'weights': (1, 2)}, r'weights \(1, 2\) are not three'),
        ({'weights': (1, NAN, 2)}, r'weights .* are not three finite'),
        ({'weights': (1, -2, 2)}, r'weights .* from 0'),
        ({'new_track_score': 1.5}, r'new_track_score 1.5 is outside 0 \.\. 1'),
        ({'new_track_iou': -1}, r'new_track_iou -1 is outside'),
        ({'continuity_iou': NAN}, r'continuity_iou nan is outside'),
        ({'max_age_s': -1.0}, r'max_age_s -1.0 is outside 0 \.\. inf'),
        ({'max_identities': 0}, r'max_identities 0 is outside 1'),
        ({'max_identities': 2.5}, r'max_identities 2.5 is not a whole number'),
        ({'min_hits': 0}, r'min_hits 0 is outside'),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AssociationConfig(**settings)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'rule': 'hungarian'}, r"rule 'hungarian' is not one of paper, mmtracking"),
        ({'weights': (1, 2, math.inf)}, r'weights .* are not three finite'),
        ({'max_age_frames': 0}, r'max_age_frames 0 is not a whole number from 1'),
        ({'min_hits': 1.5}, r'min_hits 1.5 is not a whole number'),
    ],
)
def test_settings_of_the_published_rules_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PublishedConfig(**settings)


def test_ids_have_the_type_of_the_message() -> None:
    track_ids: NDArray[np.uint32] = IdentityMemory().update([], [], [], [], 0.0).track_ids
    assert track_ids.dtype == np.uint32 and track_ids.shape == (0,)
