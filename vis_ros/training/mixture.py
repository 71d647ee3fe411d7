"""Mixture: training pairs drawn from several sources of videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vis_ros.synthetic.composites import Video, Videos
from vis_ros.synthetic.labeled_frame import LabeledFrame

DISTANCES: tuple[tuple[float, int], ...] = ((0.5, 5), (0.3, 20), (0.2, 1_000_000))
"""(probability, largest distance in frames) between the two frames of a pair, limited by the length of the video."""


class Mixture:
    """Pairs (key, reference) of frames of one video. Pair k depends only on the seed and k.

    Args:
        sources: (weight, videos), all with the same class ids. The weights need not sum to 1.
        seed: of the draws.

    >>> mixture = Mixture([(0.8, composites), (0.2, stills)], seed=1)       # doctest: +SKIP
    >>> key, reference = mixture.pair(0)                                    # doctest: +SKIP
    """

    def __init__(self, sources: Sequence[tuple[float, Videos]], seed: int) -> None:
        weights = np.array([weight for weight, _ in sources], np.float64)
        if not len(weights) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f'weights of a mixture must be at least 0, and one of them larger: got {weights.tolist()}')
        self.videos = [videos for _, videos in sources]
        self.weights = weights / weights.sum()
        self.seed = seed

    def draw(self, random: np.random.Generator) -> Video:
        """Draw a video of one of the sources."""
        return self.videos[int(random.choice(len(self.videos), p=self.weights))].video(int(random.integers(2**31)))

    def pair(self, index: int) -> tuple[LabeledFrame, LabeledFrame]:
        """Key and reference frame of pair `index`, any integer from 0. An object has the same id in both."""
        random = np.random.default_rng((self.seed, index))
        video = self.draw(random)
        key = int(random.integers(video.length))
        frames = video.frame(key), video.frame(_other_time(random, key, video.length))
        return (mirror(frames[0]), mirror(frames[1])) if random.random() < 0.5 else frames


def _other_time(random: np.random.Generator, key: int, length: int) -> int:
    """Another frame number, more often near `key` than far from it; `key` itself if the video has one frame."""
    if length < 2:
        return key
    limit = int(random.choice([limit for _, limit in DISTANCES], p=[share for share, _ in DISTANCES]))
    low, high = max(0, key - limit), min(length - 1, key + limit)
    other = int(random.integers(low, high))
    return other + 1 if other >= key else other


def mirror(frame: LabeledFrame) -> LabeledFrame:
    """The frame flipped left to right."""
    return replace(
        frame,
        image=np.ascontiguousarray(frame.image[:, ::-1]),
        masks=np.ascontiguousarray(frame.masks[:, :, ::-1]),
        ignored=None if frame.ignored is None else np.ascontiguousarray(frame.ignored[:, ::-1]),
    )
