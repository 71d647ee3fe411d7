"""The identity memory with its own rule: against a slow rule on random sequences, and by hand."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.identity_frames import BLUE, FAR, GREEN, LEFT, RED, RIGHT, Frame, memory_with, shifted, tracks_of, update
from helpers.slow_association import SlowOneToOne, SlowPublished, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.identity_memory import IdentityMemory
from vis_ros.tracking.published_memory import PublishedConfig
from vis_ros.tracking.tracks import Tracks


@pytest.mark.parametrize('rule', ['paper', 'mmtracking'])
def test_published_rules_are_reproduced(rule: Any) -> None:
    shared = dropped = forgotten = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        memory, slow = memory_with(rule=rule), SlowPublished(rule == 'mmtracking')
        for step, frame in enumerate(sequence(rng, 50)):
            expected = slow.update(frame, step * 0.1)
            assert update(memory, frame, step * 0.1) == expected, f'seed {seed}, frame {step}'
            given_out = [track_id for track_id in expected if track_id]
            shared += len(set(given_out)) < len(given_out)
            dropped += 0 in expected
        assert len(memory) == len(slow.known)
        forgotten += slow.born - len(slow.known)
    assert shared > 100 and dropped > 100
    assert (forgotten > 0) == (rule == 'mmtracking')


@pytest.mark.parametrize('max_identities', [4, 256])
def test_one_to_one_is_what_its_description_says(max_identities: int) -> None:
    refused = lost = weak = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        config = AssociationConfig(max_identities=max_identities, max_age_s=1.5, weak_iou=0.2)
        memory, slow = IdentityMemory(config), SlowOneToOne(config)
        for step, frame in enumerate(sequence(rng, 50)):
            expected = slow.update(frame, step * 0.1)
            track_ids = update(memory, frame, step * 0.1)
            assert track_ids == expected, f'seed {seed}, frame {step}'
            given_out = [track_id for track_id in track_ids if track_id]
            assert len(set(given_out)) == len(given_out)
            assert len(memory) == len(slow.known) <= max_identities
            refused += 0 in track_ids
        lost += slow.born - len(slow.known)
        weak += slow.weak
    assert refused > 100 and lost > 100 and weak > 100


def test_numbers_count_from_one_by_falling_score() -> None:
    memory = IdentityMemory()
    assert update(memory, Frame().add(LEFT, RED, 0.7).add(RIGHT, BLUE, 0.9), 0.0) == [2, 1]


def test_an_object_keeps_its_number_where_it_goes_and_after_it_was_hidden() -> None:
    memory = IdentityMemory()
    assert update(memory, Frame().add(LEFT, RED), 0.0) == [1]
    assert update(memory, Frame().add(FAR, RED).add(LEFT, BLUE, 0.8), 0.1) == [1, 2]
    assert update(memory, Frame(), 5.0) == []
    assert update(memory, Frame().add(RIGHT, GREEN).add(LEFT, RED), 9.0) == [3, 1]


def test_the_better_match_wins_and_the_other_is_new() -> None:
    memory = IdentityMemory()
    update(memory, Frame().add(LEFT, RED), 0.0)
    assert update(memory, Frame().add(RIGHT, RED).add(LEFT, RED), 0.1) == [2, 1]


def test_a_second_detection_of_an_object_gets_no_number() -> None:
    memory = IdentityMemory()
    update(memory, Frame().add(LEFT, RED), 0.0)
    assert update(memory, Frame().add(LEFT, RED, 0.8).add([0, 0, 10, 9], RED, 0.9), 0.1) == [1, 0]
    assert len(memory) == 1


def test_a_weak_detection_continues_but_does_not_begin() -> None:
    memory = memory_with(new_track_score=0.5)
    assert update(memory, Frame().add(LEFT, RED, 0.49), 0.0) == [0]
    assert update(memory, Frame().add(LEFT, RED, 0.5), 0.1) == [1]
    assert update(memory, Frame().add(LEFT, RED, 0.1), 0.2) == [1]


def test_a_detection_of_score_zero_matches_nothing_by_its_cues() -> None:
    memory = memory_with(confident_score=0.0)
    assert update(memory, Frame().add(LEFT, RED), 0.0) == [1]
    assert update(memory, Frame().add(LEFT, RED, 0.0), 0.1) == [0]


def test_a_weak_detection_continues_by_its_place_what_others_left() -> None:
    memory = memory_with(confident_score=0.6, weak_iou=0.5)
    update(memory, Frame().add(LEFT, RED).add(RIGHT, BLUE, 0.8), 0.0)
    # It is in the place of 1; that it looks like 2 does not matter.
    assert update(memory, Frame().add(LEFT, BLUE, 0.3), 0.1) == [1]
    assert update(memory, Frame().add(LEFT, BLUE, 0.3), 0.2) == [1]
    assert update(memory, Frame().add(RIGHT, BLUE, 0.3), 0.3) == [0]  # 2 was not in the two frames before


def test_a_weak_detection_leaves_to_others_what_they_choose() -> None:
    memory = memory_with()
    update(memory, Frame().add(LEFT, RED), 0.0)
    assert update(memory, Frame().add(LEFT, RED, 0.3).add(RIGHT, RED), 0.1) == [0, 1]
    memory = memory_with(weak_iou=0.5)
    update(memory, Frame().add(LEFT, RED), 0.0)
    assert update(memory, Frame().add([5, 0, 15, 10], RED, 0.3), 0.1) == [0]  # IoU 1/3


def test_the_looks_are_a_mean_that_follows_slowly() -> None:
    memory = memory_with(memory_rate=0.25, motion_s=0)
    for step, looks in enumerate(([4, 0], [0, 4], [4, 4], [0, 0], [8, 8])):
        assert update(memory, Frame().add(LEFT, looks), step) == [1]
    # of four: the plain mean (2, 2); of the fifth a quarter: 0.75 * 2 + 0.25 * 8
    tracks = tracks_of(memory, Frame().add(LEFT, [1, 0]), 5)
    assert tracks.match_scores == pytest.approx([1 / (1 + math.exp(-3.5))], rel=1e-5)
    memory = memory_with(memory_rate=1)
    update(memory, Frame().add(LEFT, [4, 0]), 0)
    update(memory, Frame().add(LEFT, [0, 4]), 1)
    tracks = tracks_of(memory, Frame().add(LEFT, [0, 1]), 2)
    assert tracks.match_scores == pytest.approx([1 / (1 + math.exp(-4))], rel=1e-5)


@pytest.mark.parametrize('between', [0.1, 0.2])
def test_the_place_is_expected_where_the_speed_leads(between: float) -> None:
    """50 pixels a second; weak detections match by place alone, so they tell where it is expected."""
    for motion_s, seen, expected in ((1.0, 1.0, [1]), (0.0, 1.0, [0]), (1.0, 0.0, [0])):
        memory = memory_with(motion_s=motion_s, weak_iou=0.9)
        for step in range(4):
            assert update(memory, Frame().add(shifted(50 * step * between), RED), step * between) == [1]
        x = 50 * between * (3 + seen * 2)  # twice the usual time later
        assert update(memory, Frame().add(shifted(x), RED, 0.3), 5 * between) == expected


def test_a_speed_is_the_mean_of_the_newest_and_those_before() -> None:
    memory = memory_with(weak_iou=0.999)
    for stamp, x in ((0.0, 0), (0.5, 10), (1.0, 30)):  # 20 at first, then (20 + 40) / 2
        update(memory, Frame().add(shifted(x), RED), stamp)
    assert update(memory, Frame().add(shifted(45), RED, 0.3), 1.5) == [1]


def test_a_long_gap_and_no_time_at_all_tell_no_speed() -> None:
    memory = memory_with(weak_iou=0.999)
    for stamp, x in ((0.0, 0), (0.5, 10), (2.0, 100)):  # 1.5 s is more than motion_s
        update(memory, Frame().add(shifted(x), RED), stamp)
    assert update(memory, Frame().add(shifted(100), RED, 0.3), 2.1) == [1]
    memory = memory_with(weak_iou=0.999)
    for stamp, x in ((0.0, 0), (0.5, 10), (0.5, 12)):  # 20 pixels a second stay
        update(memory, Frame().add(shifted(x), RED), stamp)
    assert update(memory, Frame().add(shifted(14), RED, 0.3), 0.6) == [1]


def test_the_published_rules_have_the_published_weights() -> None:
    assert AssociationConfig().weights == (1, 4, 3)
    assert PublishedConfig('paper').weights == PublishedConfig('mmtracking').weights == (1, 2, 10)


def test_a_label_that_flickers_over_the_same_place_does_not_cost_the_number() -> None:
    gray = [2, 0, 0]  # dot product 4 with itself: less than the 10 of a wrong category
    weights = (1.0, 2.0, 10.0)
    for continuity_iou, expected in ((0.3, [1]), (1, [2])):
        memory = memory_with(continuity_iou=continuity_iou, weights=weights)
        update(memory, Frame().add(LEFT, gray), 0.0)
        assert update(memory, Frame().add(LEFT, gray, class_id=1), 0.1) == expected
    memory = memory_with(weights=weights)
    update(memory, Frame().add(LEFT, gray), 0.0)
    update(memory, Frame(), 0.1)
    assert update(memory, Frame().add(LEFT, gray, class_id=1), 0.2) == [2]  # not seen in the frame before


def test_a_track_is_named_after_the_class_with_the_most_votes() -> None:
    """Against the rule written out: scores add up, older ones fade, and only a lead of a quarter renames."""
    random = np.random.default_rng(5)
    names: set[int] = set()
    for _ in range(20):
        memory, votes, name = memory_with(), np.zeros(4), None
        for frame in range(40):
            class_id, score = int(random.integers(4)), float(np.float32(random.uniform(0.7, 1.0)))
            tracks = tracks_of(memory, Frame().add(LEFT, RED, score, class_id=class_id), frame / 30)
            assert tracks.track_ids.tolist() == [1]
            votes *= 0.98
            votes[class_id] += score
            if name is None or votes.max() > 1.25 * votes[name]:
                name = int(votes.argmax())
            assert tracks.class_ids.tolist() == [name]
        names.add(name)
    assert len(names) > 1


def test_two_classes_in_turn_do_not_change_the_name_to_and_fro() -> None:
    memory = memory_with()
    names = [
        tracks_of(memory, Frame().add(LEFT, RED, 0.9, class_id=frame % 2), frame / 30).class_ids[0]
        for frame in range(200)
    ]
    assert set(names) == {0}


def test_more_classes_than_are_counted_do_not_hide_the_most_frequent_one() -> None:
    memory = memory_with()
    for frame in range(120):
        class_id = 7 if frame % 2 else frame % 13
        tracks = tracks_of(memory, Frame().add(LEFT, RED, 0.9, class_id=class_id), frame / 30)
    assert tracks.class_ids.tolist() == [7]


def test_a_class_that_led_for_long_is_displaced_in_the_end() -> None:
    memory = memory_with()
    names = [
        tracks_of(memory, Frame().add(LEFT, RED, 0.9, class_id=0 if frame < 1000 else 2), frame / 30).class_ids[0]
        for frame in range(1060)
    ]
    assert set(names[:1030]) == {0} and set(names[1045:]) == {2}


def test_without_a_number_and_in_the_published_rules_the_class_is_the_detections_own() -> None:
    memory = memory_with()
    assert tracks_of(memory, Frame().add(LEFT, RED, 0.2, class_id=2), 0.0).class_ids.tolist() == [2]
    for rule in ('paper', 'mmtracking'):
        memory = memory_with(rule=rule)
        for frame, class_id in enumerate((1, 1, 1, 2)):
            tracks = tracks_of(memory, Frame().add(LEFT, RED, class_id=class_id), frame / 30)
        assert tracks.class_ids.tolist() == [2]


def test_identities_expire_in_seconds() -> None:
    memory = memory_with(max_age_s=2.0)
    update(memory, Frame().add(LEFT, RED), 10.0)
    update(memory, Frame(), 12.0)
    assert len(memory) == 1
    update(memory, Frame(), 12.1)
    assert len(memory) == 0
    assert update(memory, Frame().add(LEFT, RED), 12.2) == [2]


def test_a_full_memory_forgets_the_longest_unseen_but_none_of_this_frame() -> None:
    memory = memory_with(max_identities=2)
    assert update(memory, Frame().add(LEFT, RED), 0.0) == [1]
    assert update(memory, Frame().add(RIGHT, BLUE), 0.1) == [2]
    assert update(memory, Frame().add(LEFT, RED), 0.2) == [1]
    assert update(memory, Frame().add(FAR, GREEN), 0.3) == [3]
    assert update(memory, Frame().add(LEFT, RED, 0.9).add(RIGHT, BLUE, 0.8), 0.4) == [1, 4]
    assert update(memory, Frame().add(LEFT, RED, 0.9).add(RIGHT, BLUE, 0.8).add(FAR, GREEN, 0.7), 0.5) == [1, 4, 0]
    assert len(memory) == 2


def test_a_first_frame_with_more_objects_than_room_numbers_the_strongest() -> None:
    memory = memory_with(max_identities=2)
    assert update(memory, Frame().add(LEFT, RED, 0.5).add(RIGHT, BLUE, 0.7).add(FAR, GREEN, 0.6), 0.0) == [0, 1, 2]


def test_settings_may_change_between_frames() -> None:
    memory = IdentityMemory()
    update(memory, Frame().add(LEFT, RED, 0.9).add(RIGHT, BLUE, 0.8).add(FAR, GREEN, 0.7), 0.0)
    memory.config = replace(memory.config, max_identities=1, new_track_score=0.8)
    assert update(memory, Frame().add(FAR, GREEN, 0.7), 0.1) == [3]
    assert len(memory) == 1
    memory.config = replace(memory.config, max_identities=50)
    frame = Frame()
    for i in range(30):
        frame.add([100 * i, 200, 100 * i + 50, 250], [0, 0, -9 - i], 0.9)
    update(memory, frame, 0.2)
    assert len(memory) == 31


CONTENT = st.builds(
    lambda x, size, look, score, class_id: ([x, 0, x + size, 10], look, score, class_id),
    st.sampled_from([0, 4, 20]),
    st.sampled_from([10, 12]),
    st.lists(st.integers(-2, 3).map(float), min_size=3, max_size=3),
    st.sampled_from([0.25, 0.5, 0.75]),
    st.integers(0, 1),
)


@given(frames=st.lists(st.lists(CONTENT, max_size=6), min_size=2, max_size=6), data=st.data())
@settings(max_examples=300, deadline=None)
def test_the_order_of_detections_does_not_matter(frames: list[list[Any]], data: st.DataObject) -> None:
    """Few different values, so that ties abound; detections that are equal in everything may change places."""
    config = AssociationConfig(max_identities=5)
    straight, shuffled = IdentityMemory(config), IdentityMemory(config)
    for step, detections in enumerate(frames):
        frame = Frame()
        for detection in detections:
            frame.add(*detection)
        permuted = frame.permuted(data.draw(st.permutations(range(len(frame)))))
        expected = sorted(zip(frame.contents(), update(straight, frame, float(step)), strict=True))
        assert sorted(zip(permuted.contents(), update(shuffled, permuted, float(step)), strict=True)) == expected


def test_the_order_does_not_matter_to_the_last_bit_with_long_embeddings() -> None:
    rng = np.random.default_rng(7)
    straight, shuffled = IdentityMemory(), IdentityMemory()
    looks = rng.normal(size=(40, 256)).astype(np.float32)
    for step in range(20):
        boxes = rng.uniform(0, 500, (40, 2)).astype(np.float32)
        boxes = np.concatenate([boxes, boxes + 40], 1)
        scores, class_ids = rng.random(40, np.float32), rng.integers(0, 2, 40)
        embeddings = looks + rng.normal(0, 0.5, looks.shape).astype(np.float32)
        order = rng.permutation(40)
        first = straight.update(boxes, scores, class_ids, embeddings, step)
        second = shuffled.update(boxes[order], scores[order], class_ids[order], embeddings[order], step)
        for name in ('track_ids', 'class_ids', 'match_scores', 'hits', 'states', 'first_seen'):
            np.testing.assert_array_equal(getattr(first, name)[order], getattr(second, name), err_msg=name)


def test_memory_does_not_grow() -> None:
    """3,000 frames of ever new objects: the whole object takes as many bytes as after the first frame."""
    rng = np.random.default_rng(0)
    memory = memory_with(max_identities=64, new_track_iou=1, max_age_s=3.0)

    def step(stamp: float) -> Tracks:
        corners = rng.uniform(0, 500, (10, 2))
        boxes = np.concatenate([corners, corners + 30], 1)
        return memory.update(boxes, rng.random(10), np.zeros(10, int), rng.normal(size=(10, 16)) * 0.1, stamp)

    step(0.0)
    size = len(pickle.dumps(memory))
    for index in range(1, 3_001):
        tracks = step(index / 30)
    assert len(memory) == 64
    assert abs(len(pickle.dumps(memory)) - size) < 50  # the numbers it counts with grow by some digits
    assert tracks.match_scores.shape == (10,)
    assert update(memory, Frame().add(LEFT, [0.0] * 16), 1e4)[0] > 1_000  # numbers given out, and not held
