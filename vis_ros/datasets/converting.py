"""Convert annotations from one format to another, and report what gets lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vis_ros.datasets.coco_vid import write_coco
from vis_ros.datasets.cvat_xml import write_cvat
from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.labels import write_labels
from vis_ros.datasets.mots import write_mots
from vis_ros.datasets.mots_png import write_mots_png
from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.whole_folder import whole_folder

PASSES = 2
"""How often `convert_annotations` calls `on_frame` for each frame. Most writers read a video twice: to count, then to
write."""

Writer = Callable[[AnnotatedVideos, Path, Callable[[], None]], list[str]]
"""Writes videos to a path, calls a function PASSES times for each frame, and returns what the format cannot hold."""


def _write_bag(videos: AnnotatedVideos, path: Path, on_frame: Callable[[], None]) -> list[str]:
    from vis_ros.datasets.bag_annotations import write_bag  # needs ROS

    def advance() -> None:
        for _ in range(PASSES):
            on_frame()

    write_bag(videos, path, advance)
    return []


WRITERS: dict[str, Writer] = {
    'youtube-vis': write_youtube_vis,
    'coco': write_coco,
    'davis': write_davis,
    'mots': write_mots,
    'mots-png': write_mots_png,
    'cvat': write_cvat,
    'bag': _write_bag,
}
"""By the name of the format on the command line."""


def convert_annotations(
    videos: AnnotatedVideos, out: str | Path, to: str, on_frame: Callable[[], None] = lambda: None
) -> list[str]:
    """Write annotations in another format, with their images if there are any, and `videos.labels` with them.

    Args:
        videos: what to write.
        out: a folder that is empty or does not exist. After an error nothing is left of it.
        to: a name in WRITERS.
        on_frame: called PASSES times for each frame (a progress bar).

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        FileExistsError: `out` is not empty.
        ValueError: the format is unknown or cannot hold the videos, or `out` looks like a file.
    """
    out = Path(out)
    if to not in WRITERS:
        raise ValueError(f'cannot write the format {to!r}; choose from {", ".join(WRITERS)}')
    if out.suffix == '.json':  # the files next to it would be replaced
        raise ValueError(f'{out} looks like a file; give a new folder, which will contain instances.json')
    with whole_folder(out) as written:
        losses = WRITERS[to](videos, written, on_frame)
        if videos.labels and to != 'youtube-vis':  # which has a place for it
            write_labels(written, videos.labels)
    return losses
