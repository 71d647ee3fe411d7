"""The identity memory: against slow, plainly written rules on random sequences, and by hand."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vis_ros.instances import CONFIRMED, TENTATIVE
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.identity_memory import IdentityMemory, Memory
from vis_ros.tracking.published_memory import PublishedConfig, PublishedMemory
from vis_ros.tracking.tracks import Tracks


@dataclass
class Frame:
    """Detections as plain lists."""

    boxes: list[Sequence[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    embeddings: list[Sequence[float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)

    def add(self, box: Sequence[float], embedding: Sequence[float], score: float = 0.9, class_id: int = 0) -> Frame:
        self.boxes.append(box)
        self.scores.append(score)
        self.class_ids.append(class_id)
        self.embeddings.append(embedding)
        return self

    def permuted(self, order: list[int]) -> Frame:
        return Frame(*([values[i] for i in order] for values in vars(self).values()))

    def contents(self) -> list[tuple[Any, ...]]:
        rows = zip(self.scores, self.boxes, self.class_ids, self.embeddings, strict=True)
        return [(score, *box, class_id, *embedding) for score, box, class_id, embedding in rows]


def memory_with(rule: Any = 'one_to_one', **settings: Any) -> Memory:
    if rule != 'one_to_one':
        return PublishedMemory(PublishedConfig(rule, **settings))
    return IdentityMemory(AssociationConfig(**({'new_track_score': 0.4} | settings)))


def tracks_of(memory: Memory, frame: Frame, stamp: float) -> Tracks:
    return memory.update(frame.boxes, frame.scores, frame.class_ids, frame.embeddings, stamp)


def update(memory: Memory, frame: Frame, stamp: float) -> list[int]:
    return tracks_of(memory, frame, stamp).track_ids.tolist()


# --- slow rules, written from their description ---------------------------------------------------------------------


@dataclass
class Known:
    track_id: int
    box: Sequence[float]
    class_id: int
    embedding: Sequence[float]
    last_seen: float
    last_frame: int
    hits: int = 1
    velocity: tuple[float, float] = (0.0, 0.0)

    def expected_box(self, stamp: float, horizon: float) -> list[float]:
        elapsed = min(stamp - self.last_seen, horizon)
        return [side + elapsed * self.velocity[k % 2] for k, side in enumerate(self.box)]

    def learn(self, box: Sequence[float], embedding: Sequence[float], stamp: float, config: AssociationConfig) -> None:
        elapsed = stamp - self.last_seen
        if elapsed > config.motion_s:
            self.velocity = (0.0, 0.0)
        elif elapsed > 0:
            middle, before = ([(b[k] + b[k + 2]) / 2 for k in (0, 1)] for b in (box, self.box))
            newest = [(now - then) / elapsed for now, then in zip(middle, before, strict=True)]
            share = 1 if self.hits == 1 else 0.5
            self.velocity = tuple(  # type: ignore[assignment]
                share * new + (1 - share) * old for new, old in zip(newest, self.velocity, strict=True)
            )
        self.hits += 1
        rate = max(config.memory_rate, 1 / self.hits)
        self.embedding = [(1 - rate) * x + rate * y for x, y in zip(self.embedding, embedding, strict=True)]
        self.box = box


def slow_iou(a: Sequence[float], b: Sequence[float], pixel: float = 0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    height = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    shared = max(width, 0) * max(height, 0)
    area_a = (a[2] - a[0] + pixel) * (a[3] - a[1] + pixel)
    area_b = (b[2] - b[0] + pixel) * (b[3] - b[1] + pixel)
    return shared / (area_a + area_b - shared)


def slow_cues(
    frame: Frame,
    i: int,
    known: list[Known],
    pixel: float,
    same: Callable[[Known], bool],
    place: Callable[[Known], Sequence[float]] = lambda k: k.box,
    b: float = 2,
    c: float = 10,
) -> list[float]:
    """Row i of the cue score, column 0 = new."""
    dots = [0.0] + [sum(x * y for x, y in zip(frame.embeddings[i], k.embedding, strict=True)) for k in known]
    top = max(dots)
    total = top + math.log(sum(math.exp(dot - top) for dot in dots))
    row = [dots[0] - total + math.log(frame.scores[i]) + c]
    for k, dot in zip(known, dots[1:], strict=True):
        overlap = slow_iou(frame.boxes[i], place(k), pixel)
        row.append(dot - total + math.log(frame.scores[i]) + b * overlap + c * same(k))
    return row


class SlowPublished:
    """The official rule (SYSTEMS 1.3, 1.4) and, with `mmtracking`, what that code does otherwise."""

    def __init__(self, mmtracking: bool) -> None:
        self.mmtracking = mmtracking
        self.known: list[Known] = []
        self.born = 0
        self.frame = -1

    def update(self, frame: Frame, stamp: float) -> list[int]:
        self.frame += 1
        if not len(frame):
            return []
        before = list(self.known)
        rows = [
            slow_cues(frame, i, before, 0 if self.mmtracking else 1, lambda k, i=i: k.class_id == frame.class_ids[i])  # type: ignore[misc]
            for i in range(len(frame))
        ]
        best_of = [-1e6 if self.mmtracking else -100.0] * len(before)
        ids, changes = [], []
        for i, row in enumerate(rows):
            choice = row.index(max(row))
            if choice == 0:
                self.born += 1
                ids.append(self.born)
                self.known.append(
                    Known(self.born, frame.boxes[i], frame.class_ids[i], frame.embeddings[i], stamp, self.frame)
                )
            elif row[choice] > best_of[choice - 1]:
                best_of[choice - 1] = row[choice]
                ids.append(before[choice - 1].track_id)
                changes.append((before[choice - 1], i))
            else:
                ids.append(0)
        for k, i in changes:  # in order, so that of two detections with one id the later, better one stays
            k.box, k.embedding, k.last_frame = frame.boxes[i], frame.embeddings[i], self.frame
            if self.mmtracking:
                k.class_id = frame.class_ids[i]
        if self.mmtracking:
            self.known = [k for k in self.known if self.frame - k.last_frame < 20]
        return ids


class SlowOneToOne:
    """Our rule, one detection and one identity at a time."""

    def __init__(self, config: AssociationConfig) -> None:
        self.config = config
        self.known: list[Known] = []
        self.born = 0
        self.frame = 0
        self.weak = 0

    def update(self, frame: Frame, stamp: float) -> list[int]:
        config = self.config
        self.frame += 1
        self.known = [k for k in self.known if stamp - k.last_seen <= config.max_age_s]
        before = list(self.known)
        claims: dict[int, tuple[float, int]] = {}

        def place(k: Known) -> list[float]:
            return k.expected_box(stamp, config.motion_s)

        for i in range(len(frame)):
            if frame.scores[i] < config.confident_score:
                continue

            def same(k: Known, i: int = i) -> bool:
                near = slow_iou(frame.boxes[i], place(k)) > config.continuity_iou
                return (near and k.last_frame == self.frame - 1) or k.class_id == frame.class_ids[i]

            row = slow_cues(frame, i, before, 0, same, place, b=4, c=3)
            choice = row.index(max(row))
            if choice and (choice not in claims or row[choice] > claims[choice][0]):
                claims[choice] = row[choice], i
        self.weak += self.continue_weakly(frame, before, claims, place)
        ids = [0] * len(frame)
        for choice, (_, i) in claims.items():
            k = before[choice - 1]
            ids[i] = k.track_id
            k.learn(frame.boxes[i], frame.embeddings[i], stamp, config)
            k.class_id, k.last_seen, k.last_frame = frame.class_ids[i], stamp, self.frame
        for i in sorted(range(len(frame)), key=lambda i: -frame.scores[i]):
            if ids[i] or frame.scores[i] < config.new_track_score:
                continue
            others = [frame.boxes[j] for j in range(len(frame)) if ids[j]]
            if all(slow_iou(frame.boxes[i], box) <= config.new_track_iou for box in others) and self.make_room():
                self.born += 1
                ids[i] = self.born
                self.known.append(
                    Known(self.born, frame.boxes[i], frame.class_ids[i], frame.embeddings[i], stamp, self.frame)
                )
        return ids

    def continue_weakly(
        self,
        frame: Frame,
        before: list[Known],
        claims: dict[int, tuple[float, int]],
        place: Callable[[Known], list[float]],
    ) -> int:
        """Add the claims of weak detections to what the others left; returns how many there are."""
        found: dict[int, tuple[float, int]] = {}
        for i in range(len(frame)):
            if frame.scores[i] >= self.config.confident_score:
                continue
            free = [
                (slow_iou(frame.boxes[i], place(k)), -choice)
                for choice, k in enumerate(before, 1)
                if choice not in claims and k.last_frame >= self.frame - 2
            ]
            overlap, choice = max(free, default=(0, 0))
            if overlap > self.config.weak_iou and (-choice not in found or overlap > found[-choice][0]):
                found[-choice] = overlap, i
        claims.update(found)
        return len(found)

    def make_room(self) -> bool:
        unseen = [k for k in self.known if k.last_frame < self.frame]
        if len(self.known) >= self.config.max_identities and unseen:
            self.known.remove(min(unseen, key=lambda k: (k.last_seen, k.hits)))
        return len(self.known) < self.config.max_identities


def sequence(rng: np.random.Generator, frames: int) -> Iterator[Frame]:
    """A few objects of three categories, seen often twice, with flickering labels and empty frames."""
    size, objects, scale = int(rng.integers(2, 8)), int(rng.integers(1, 8)), rng.choice([0.3, 2.0, 10.0])
    looks, places = rng.normal(size=(objects, size)), rng.uniform(0, 100, (objects, 2))
    last_relu = rng.random() < 0.3
    for _ in range(frames):
        frame = Frame()
        for k in rng.integers(0, objects, 0 if rng.random() < 0.15 else rng.integers(1, 9)):
            corner = places[k] + rng.normal(0, 8, 2)
            embedding = (looks[k] + rng.normal(0, 0.4, size)) * scale
            frame.add(
                np.concatenate([corner, corner + rng.uniform(5, 40, 2)]).astype(np.float32).tolist(),
                (np.maximum(embedding, 0) if last_relu else embedding).astype(np.float32).tolist(),
                float(np.float32(rng.uniform(0.01, 1))),
                int(rng.integers(0, 3)),
            )
        yield frame


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


# --- one to one, by hand --------------------------------------------------------------------------------------------

LEFT, RIGHT, FAR = [0, 0, 10, 10], [30, 0, 40, 10], [300, 0, 310, 10]
RED, BLUE, GREEN = [4, -4, -4], [-4, 4, -4], [-4, -4, 4]  # dot product 48 with itself, -16 with another


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


def shifted(x: float) -> list[float]:
    return [x, 0, x + 10, 10]


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


def test_the_class_of_an_identity_is_that_of_most_of_its_detections() -> None:
    """Where one class has more than half of all score, at every frame it must be the one told."""
    random = np.random.default_rng(5)
    compared = 0
    for _ in range(20):
        memory, votes = memory_with(), np.zeros(3)
        for frame in range(5):  # longer, the lead is limited
            class_id, score = int(random.integers(3)), float(np.float32(random.uniform(0.7, 1.0)))
            tracks = tracks_of(memory, Frame().add(LEFT, RED, score, class_id=class_id), frame / 30)
            assert tracks.track_ids.tolist() == [1]
            votes[class_id] += score
            if votes.max() > 0.5 * votes.sum():
                compared += frame > 1
                assert tracks.class_ids.tolist() == [int(votes.argmax())]
    assert compared >= 20


def test_a_class_that_led_for_long_is_displaced_in_the_end() -> None:
    memory = memory_with()
    classes = []
    for frame in range(1000 + 10):
        class_id = 0 if frame < 1000 else 2
        tracks = tracks_of(memory, Frame().add(LEFT, RED, 0.9, class_id=class_id), frame / 30)
        assert tracks.track_ids.tolist() == [1]
        classes.append(tracks.class_ids.tolist())
    assert classes[1000:1005] == [[0]] * 5 and classes[1006:] == [[2]] * 4


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


# --- the published rules, by hand -----------------------------------------------------------------------------------


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
