"""Photos: every frame as a video of its own, so that nothing is followed from one to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from vis_ros.datasets.frame_images import bare
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, IndexedVideo, PredictedVideo


def as_photos(videos: AnnotatedVideos) -> AnnotatedVideos:
    """Every frame as a video of one frame.

    It is named after its file without suffix, or, if several have the same name, also after its video: 'left_0001'.
    Videos without random access are read into memory, as run lengths.
    """
    if videos.of_photos:
        return videos
    held = [
        video if isinstance(video, IndexedVideo) else PredictedVideo(video.name, list(video)) for video in videos.videos
    ]
    keys = [(video, index, bare(name)) for video in held for index, name in enumerate(video.frame_names())]
    uses = Counter(name for *_, name in keys)
    photos = [_Photo(_name(video, name, uses[name]), video, index) for video, index, name in keys]
    return replace(videos, videos=photos, of_photos=True)


def _name(video: AnnotatedVideo, frame: str, uses: int) -> str:
    if uses == 1:
        return frame
    return video.name if len(video) == 1 else f'{video.name}_{frame}'


class _Photo(AnnotatedVideo):
    """One frame of a video."""

    def __init__(self, name: str, video: IndexedVideo, index: int) -> None:
        super().__init__(name, 1)
        self._video, self._index = video, index

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        yield replace(self._video.frame(self._index), index=0, stamp_ns=None)
