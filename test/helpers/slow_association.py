"""The association rules, written slowly and plainly from their description."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.identity_frames import Frame
from vis_ros.tracking.association_config import AssociationConfig


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
