"""Open a recording of any kind: a bag, a video, an image or a folder of images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vis_ros.file_kinds import foreign_kind
from vis_ros.image_files import IMAGE_SUFFIXES, OTHER_FRAMES, is_hidden, is_image, natural_order
from vis_ros.recordings.bag_depth import DepthTopics
from vis_ros.recordings.bag_files import is_bag, is_storage
from vis_ros.recordings.bag_recording import BagRecording
from vis_ros.recordings.folder_recording import FolderRecording, images_in
from vis_ros.recordings.recording import Recording
from vis_ros.recordings.video_recording import VideoRecording

_SHOWN = 5
"""Names that are listed where a folder holds more than what is read."""


def open_recording(
    path: str | Path,
    topic: str | None = None,
    cameras: Mapping[str, str | None] | None = None,
    name: str = '',
    depth: DepthTopics | None = None,
    photos: bool | None = False,
) -> Recording:
    """Open a recording to iterate over its frames. `vis_ros.open` is this function.

    >>> for frame in open_recording('drive.mcap', '/camera/image'):  # doctest: +SKIP
    ...     print(frame.stamp, frame.image.shape)

    Args:
        path: a video file, an image file, a folder of images, a bag file (.mcap or .db3) or a bag folder.
        topic: the image topic of a bag; not needed if the bag has exactly one.
        cameras: several image topics of a bag: name of each camera -> its topic; None stands for /<name>/image or
            /<name>/image/compressed, as in the node.
        name: of the stream, if there is just one.
        depth: depth topics for the one camera of a bag.
        photos: whether a folder of images holds photos that have nothing in common; None guesses.

    Returns:
        An iterable of `Frame`, which can be read several times. `len` gives the number of frames if it is known.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: it is none of these or cannot be read, or a topic is not an image topic of the bag.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    if is_bag(path) and photos:
        raise ValueError(f'{path} is a bag, not a folder of images: leave --photos out')
    if is_bag(path):
        bag = BagRecording(path, topic, cameras or {}, name, depth)
        bag.left_out += _left_out(path, bag.files, 'the files of the bag')
        return bag
    if topic is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {topic!r}; leave --topic out')
    if cameras:
        raise ValueError(f'{path} is not a bag, so it has no cameras {", ".join(cameras)}; leave --camera out')
    if depth is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {depth.depth!r}; leave --depth out')
    if images := images_in(path):
        recording: Recording = FolderRecording(images, path, name, photos)
        recording.left_out += _left_out(path, images, 'its own images')
        return recording
    if path.is_dir():
        beside = ', '.join(each.name for each in _with_frames(path)[:_SHOWN])
        raise ValueError(
            f'{path} holds neither images ({", ".join(IMAGE_SUFFIXES)}) nor a bag (metadata.yaml, .mcap, .db3)'
            + (f'; give one of {beside} in it' if beside else '')
        )
    if photos:
        raise ValueError(f'{path} is no folder of images: leave --photos out')
    if kind := foreign_kind(path):
        raise ValueError(f'{path} is not a recording that can be read: it is {kind}')
    return VideoRecording(path, name)


def open_recordings(
    path: str | Path,
    topic: str | None = None,
    cameras: Mapping[str, str | None] | None = None,
    depth: DepthTopics | None = None,
    photos: bool | None = False,
    only: Collection[str] = (),
) -> list[Recording]:
    """Open a recording, or each image folder in a folder, in natural order and named after it.

    For the other arguments and errors see `open_recording`.

    Args:
        only: names of the image folders to open; all if empty. ValueError if one of them does not exist.
    """
    path = Path(path)
    if path.is_dir() and not is_bag(path) and not images_in(path):
        folders = sorted((each for each in path.iterdir() if each.is_dir()), key=lambda each: natural_order(each.name))
        used = [folder for folder in folders if images_in(folder)]
        chosen = [folder for folder in used if not only or folder.name in only]
        if missing := sorted(set(only) - {folder.name for folder in chosen}):
            names = ', '.join(folder.name for folder in used[:_SHOWN]) + (' ...' if len(used) > _SHOWN else '')
            raise ValueError(f'{path} has no folder of images named {", ".join(missing)}; it has {names or "none"}')
        if recordings := [open_recording(folder, topic, cameras, folder.name, depth, photos) for folder in chosen]:
            recordings[0].left_out += _left_out(path, used, 'the folders with images')
            return recordings
    if only:
        raise ValueError(
            f'{path} is one recording, so there is no {", ".join(sorted(only))} to choose: leave --only out'
        )
    return [open_recording(path, topic, cameras, depth=depth, photos=photos)]


def _left_out(folder: Path, used: Sequence[Path], what: str) -> list[str]:
    """What a folder holds beside the files or folders that are read, in words; nothing for a file."""
    found = [each for each in _with_frames(folder) if each not in used] if folder.is_dir() else []
    if not found:
        return []
    listed = ', '.join(each.name for each in found[:_SHOWN])
    if len(found) > _SHOWN:
        listed += f' and {len(found) - _SHOWN} more'
    return [f'{folder} also holds {listed}: only {what} are read']


def _with_frames(folder: Path) -> list[Path]:
    """The entries of a folder that hold images of any kind: image files, videos, bags, folders of them."""
    entries = sorted(folder.iterdir(), key=lambda each: natural_order(each.name))
    return [each for each in entries if _holds_frames(each)]


def _holds_frames(path: Path) -> bool:
    if path.is_dir():
        return not is_hidden(path) and any(_is_frame_file(file) for file in path.iterdir())
    return _is_frame_file(path)


def _is_frame_file(path: Path) -> bool:
    if is_hidden(path):
        return False
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *OTHER_FRAMES) or is_storage(path) or is_image(path)
