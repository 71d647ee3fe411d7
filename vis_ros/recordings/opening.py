"""Open recordings of any kind: what there is at a path says which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vis_ros.recordings.bag_depth import DepthTopics
from vis_ros.recordings.bag_recording import Bag
from vis_ros.recordings.bags import is_bag, natural_order
from vis_ros.recordings.image_folder import IMAGE_SUFFIXES, ImageFolder, images_in
from vis_ros.recordings.recording import Source
from vis_ros.recordings.video_file import VideoFile


def open_source(
    path: str | Path,
    topic: str | None = None,
    cameras: Mapping[str, str | None] | None = None,
    name: str = '',
    depth: DepthTopics | None = None,
) -> Source:
    """Open a recording.

    Args:
        path: a video file, an image file, a folder of images, a bag file (.mcap or .db3) or a bag folder.
        topic: the image topic of a bag; may be left out where the bag has exactly one.
        cameras: several image topics of a bag: name of each camera -> its topic; None stands for /<name>/image or
            /<name>/image/compressed, as the node has it.
        name: of the stream where there is just one.
        depth: topics beside the one camera of a bag.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is none of these or cannot be read, or a topic is not one of the bag's image topics.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    if is_bag(path):
        return Bag(path, topic, cameras or {}, name, depth)
    if topic is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {topic!r}; leave --topic out')
    if cameras:
        raise ValueError(f'{path} is not a bag, so it has no cameras {", ".join(cameras)}; leave --camera out')
    if depth is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {depth.depth!r}; leave --depth out')
    if images := images_in(path):
        return ImageFolder(images, path, name)
    if path.is_dir():
        raise ValueError(
            f'{path} holds neither images ({", ".join(IMAGE_SUFFIXES)}) nor a bag (metadata.yaml, .mcap, .db3)'
        )
    return VideoFile(path, name)


def open_sources(
    path: str | Path,
    topic: str | None = None,
    cameras: Mapping[str, str | None] | None = None,
    depth: DepthTopics | None = None,
) -> list[Source]:
    """Open a recording, or each of the image folders in a folder, in natural order and named after it.

    Raises as `open_source` does.
    """
    path = Path(path)
    if path.is_dir() and not is_bag(path) and not images_in(path):
        folders = sorted((folder for folder in path.iterdir() if folder.is_dir()), key=natural_order)
        if sources := [
            open_source(folder, topic, cameras, folder.name, depth) for folder in folders if images_in(folder)
        ]:
            return sources
    return [open_source(path, topic, cameras, depth=depth)]
