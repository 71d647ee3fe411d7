"""Epochs as people count them: the first of a recording is 0, whatever number the node had begun with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vis_ros.datasets.video import EPOCH, AnnotatedFrame, AnnotatedVideo, AnnotatedVideos

_WITH_EPOCHS = ('bag', 'results of vis-ros replay')


def count_epochs(videos: AnnotatedVideos) -> AnnotatedVideos:
    """The same videos with the epochs in their track ids replaced by 0, 1, 2, ... in the order of appearance; what is
    of another format has no epochs and stays."""
    if videos.kind not in _WITH_EPOCHS:
        return videos
    return replace(videos, videos=[_Counted(video) for video in videos.videos])


class _Counted(AnnotatedVideo):
    def __init__(self, video: AnnotatedVideo) -> None:
        super().__init__(video.name, video.length)
        self._video = video

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        counted: dict[int, int] = {}
        for frame in self._video:
            epochs, numbers = np.divmod(frame.track_ids, EPOCH)
            places = [counted.setdefault(epoch, len(counted)) for epoch in epochs.tolist()]
            yield replace(frame, track_ids=np.asarray(places, np.int64) * EPOCH + numbers)
