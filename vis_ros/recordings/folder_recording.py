"""FolderRecording: image files as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.image_files import IMAGE_SUFFIXES, natural_order
from vis_ros.recordings.recording import UNREADABLE, Frame, Recording, Stream
from vis_ros.ros.stamps import FOLDER_RATE, NS_PER_S


class FolderRecording(Recording):
    """Image files in natural order (frame 2 before frame 10), as if taken at FOLDER_RATE."""

    def __init__(self, files: list[Path], path: Path, name: str = '') -> None:
        self._files = files
        super().__init__(path, f'images {path}', [Stream(name, len(files), FOLDER_RATE)])

    def _read(self, stride: int) -> Iterator[Frame]:
        dropped = 0
        for index, file in list(enumerate(self._files))[::stride]:
            image = _read_image(file)
            if image is None:
                self.skip(UNREADABLE, f'{file} is not an image that OpenCV can read')
                dropped += 1
                continue
            stamp_ns = round(index / FOLDER_RATE * NS_PER_S)
            yield Frame(image, stamp_ns, '', file.name, index, stream=self.streams[0].name, dropped=dropped)
            dropped = 0


def _read_image(file: Path) -> NDArray[np.uint8] | None:
    """The pixels of a file, without its EXIF orientation, as for the images of bags; None if it cannot be read."""
    try:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # an impossible size in its header
        return None
    return None if image is None else np.asarray(image, np.uint8)


def images_in(path: Path) -> list[Path]:
    """The image files of a folder in natural order, or the path itself if it is an image file; else none."""
    files = sorted(path.iterdir(), key=lambda file: natural_order(file.name)) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
