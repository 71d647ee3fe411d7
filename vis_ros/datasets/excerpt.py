"""Excerpt: some consecutive frames of an annotated video."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo


class Excerpt(AnnotatedVideo):
    """Frames number `begin` up to but not including `end` of a video; they keep their own `index`."""

    def __init__(self, video: AnnotatedVideo, begin: int, end: int) -> None:
        self._begin, self._end = begin, min(end, len(video))
        super().__init__(video.name, max(self._end - begin, 0))
        self._video = video

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        return islice(iter(self._video), self._begin, self._end)
