"""FolderRecording: image files as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vis_ros.image_files import IMAGE_SUFFIXES, is_hidden, natural_order
from vis_ros.image_headers import further_images
from vis_ros.images import ImageError, read_image_file
from vis_ros.recordings.photo_guess import looks_like_photos
from vis_ros.recordings.recording import MISSING, UNREADABLE, Frame, Recording, Stream
from vis_ros.ros.stamps import FOLDER_RATE, NS_PER_S


class FolderRecording(Recording):
    """Image files in natural order (frame 2 before frame 10), as if taken at FOLDER_RATE. A truncated file is skipped,
    and so are further pages of a TIFF file and frames of an animation.

    photos: whether they have nothing in common: then each is an epoch of its own. None: guessed, see
        `looks_like_photos`.
    """

    def __init__(self, files: list[Path], path: Path, name: str = '', photos: bool | None = False) -> None:
        self._files = files
        self._guess = looks_like_photos(files) if photos is None else ''
        is_photos = bool(photos or self._guess)
        super().__init__(path, f'{"photos" if is_photos else "images"} {path}', [Stream(name, len(files), FOLDER_RATE)])
        self.photos = is_photos

    @property
    def inferred(self) -> list[str]:
        return super().inferred + ([f'photos, because {self._guess} (--video if not)'] if self._guess else [])

    def _read(self, stride: int) -> Iterator[Frame]:
        dropped = 0
        for index, file in list(enumerate(self._files))[::stride]:
            try:
                image = read_image_file(file, self.scale16)
            except ImageError as error:
                self.skip(UNREADABLE, str(error))
                dropped += 1
                continue
            if further := _further(file):
                self.skip(MISSING, f'only the first image in {file} is read', further)
            stamp_ns = round(index / FOLDER_RATE * NS_PER_S)
            epoch = index if self.photos else 0
            yield Frame(image, stamp_ns, '', file.name, index, self.streams[0].name, epoch, dropped)
            dropped = 0


def _further(file: Path) -> int:
    """Number of images after the first in a readable file: pages of a TIFF, frames of an animation."""
    if file.suffix.lower() in ('.tif', '.tiff'):
        return max(cv2.imcount(str(file)) - 1, 0)
    return further_images(np.memmap(file, np.uint8, 'r')) if file.suffix.lower() in ('.png', '.webp') else 0


def images_in(path: Path) -> list[Path]:
    """The image files of a folder in natural order, or the path itself if it is an image file; else none."""
    files = sorted(path.iterdir(), key=lambda file: natural_order(file.name)) if path.is_dir() else [path]
    shown = [file for file in files if file == path or not is_hidden(file)]
    return [file for file in shown if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
