"""Convert annotations from one format to another, and say what got lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from vis_ros.datasets import davis, mots, youtube_vis
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos

PASSES = 2
"""How often every writer reads every frame: once to count, once to write."""


class _Watched(AnnotatedVideo):
    """A video that tells of each frame that is read, as often as other writers read it."""

    def __init__(self, video: AnnotatedVideo, on_frame: Callable[[], None]) -> None:
        super().__init__(video.name, video.length)
        self._video, self._on_frame = video, on_frame

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        for frame in self._video:
            yield frame
            for _ in range(PASSES):
                self._on_frame()


def _write_bag(videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None]) -> list[str]:
    from vis_ros.datasets.bag_annotations import write_bag

    write_bag(replace(videos, videos=[_Watched(video, on_frame) for video in videos.videos]), folder)
    return []


WRITERS: dict[str, Callable[[AnnotatedVideos, str | Path, Callable[[], None]], list[str]]] = {
    'youtube-vis': youtube_vis.write,
    'davis': davis.write,
    'mots': mots.write,
    'bag': _write_bag,
}
"""Formats that can be written, by the name that the command line has for them."""


def convert(
    videos: AnnotatedVideos, out: str | Path, to: str, on_frame: Callable[[], None] = lambda: None
) -> list[str]:
    """Write annotations in another format, with the pictures where there are some.

    Args:
        videos: what to write.
        out: a folder; it must be empty or not be there. Nothing is left of it after an error.
        to: a name of WRITERS.
        on_frame: called after each frame of each of the PASSES.

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        FileExistsError: `out` is not empty.
        ValueError: the format is not known, or cannot hold the videos at all, or `out` looks like a file.
    """
    out = Path(out)
    if to not in WRITERS:
        raise ValueError(f'{to!r} is no format that can be written; there are {", ".join(WRITERS)}')
    if out.suffix == '.json':  # files beside it would be replaced
        raise ValueError(f'{out} looks like a file; give a new folder, it gets instances.json')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} is there already; give a new or an empty folder')
    if out.exists():
        out.rmdir()
    try:
        return WRITERS[to](videos, out, on_frame)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
