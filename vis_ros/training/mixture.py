"""Mixture: pairs of frames for training, drawn from several sources of videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vis_ros.synthetic.composites import Video, Videos
from vis_ros.synthetic.labelled_frame import LabelledFrame

DISTANCES: tuple[tuple[float, int], ...] = ((0.5, 5), (0.3, 20), (0.2, 1_000_000))
"""(probability, longest distance in frames) of the two times of a pair; never beyond the length of the video."""


class Mixture:
    """Pairs (key, reference) of frames of one video; pair k is the same for the same seed, whoever asks for it when.

    sources: (weight, videos), whose class ids must mean the same; weights need not add up to 1.

    >>> mixture = Mixture([(0.8, composites), (0.2, stills)], seed=1)       # doctest: +SKIP
    >>> key, reference = mixture.pair(0)                                    # doctest: +SKIP
    """

    def __init__(self, sources: Sequence[tuple[float, Videos]], seed: int) -> None:
        weights = np.array([weight for weight, _ in sources], np.float64)
        if not len(weights) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f'weights of a mixture must be at least 0, one of them more, got {weights.tolist()}')
        self.videos = [videos for _, videos in sources]
        self.weights = weights / weights.sum()
        self.seed = seed

    def draw(self, random: np.random.Generator) -> Video:
        """A video of one of the sources."""
        return self.videos[int(random.choice(len(self.videos), p=self.weights))].video(int(random.integers(2**31)))

    def pair(self, index: int) -> tuple[LabelledFrame, LabelledFrame]:
        """Key and reference frame number `index`, any whole number from 0; the same object has the same id in both."""
        random = np.random.default_rng((self.seed, index))
        video = self.draw(random)
        key = int(random.integers(video.length))
        frames = video.frame(key), video.frame(_other_time(random, key, video.length))
        return (mirror(frames[0]), mirror(frames[1])) if random.random() < 0.5 else frames


def _other_time(random: np.random.Generator, key: int, length: int) -> int:
    """Another time of the video, near `key` more often than far; the same one if the video has no other."""
    if length < 2:
        return key
    limit = int(random.choice([limit for _, limit in DISTANCES], p=[share for share, _ in DISTANCES]))
    low, high = max(0, key - limit), min(length - 1, key + limit)
    other = int(random.integers(low, high))
    return other + 1 if other >= key else other


def mirror(frame: LabelledFrame) -> LabelledFrame:
    """The frame with left and right exchanged."""
    return replace(
        frame,
        image=np.ascontiguousarray(frame.image[:, ::-1]),
        masks=np.ascontiguousarray(frame.masks[:, :, ::-1]),
        ignored=None if frame.ignored is None else np.ascontiguousarray(frame.ignored[:, ::-1]),
    )
