"""Image files of frames: find them by name, decode them when needed, copy them where a format wants them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.problems import AnnotationError, Problem
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.image_files import IMAGE_SUFFIXES, is_hidden, natural_order
from vis_ros.images import ImageError, read_image_file, write_image_file

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class ImageFile:
    """Call it to decode the file: (H, W, 3) uint8 BGR. Raises AnnotationError if that fails.

    Attributes:
        path: of the file.
        folder: of the data set, in which it was found; None for the folder of the file.
    """

    path: Path
    folder: Path | None = None

    def __call__(self) -> NDArray[np.uint8]:
        try:
            return read_image_file(self.path)
        except ImageError as error:
            raise AnnotationError([Problem(str(self.path), '', str(error).removeprefix(f'{self.path} '))]) from error


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Stem -> path of each image file of a folder, in natural order; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file)]
    return {file.stem: file for file in sorted(files, key=lambda file: natural_order(file.name))}


def stems(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each frame of a video.

    These are the names of the frames, or their positions if the names are not unique or not in natural order.
    """
    plain = [bare(name) for name in names]
    keys = [natural_order(name) for name in plain]
    if all(plain) and all(before < after for (before, _), (after, _) in pairwise(keys)):
        return plain
    return [f'{index:05d}' for index in range(len(names))]


def bare(name: str) -> str:
    """The name of a frame without the suffix of an image file, and without characters that file names cannot have."""
    return _safe(Path(name).stem if Path(name).suffix.lower() in IMAGE_SUFFIXES else name)


def folder_names(names: Sequence[str]) -> list[str]:
    """A unique folder name for each video, from the names of the videos."""
    plain = [_safe(name) or 'video' for name in names]
    return plain if len(set(plain)) == len(plain) else [f'{index}_{name}' for index, name in enumerate(plain)]


def _safe(name: str) -> str:
    return re.sub(r'[^\w .+-]+', '_', name).strip('. ')


def write_image(frame: AnnotatedFrame, folder: Path, stem: str) -> str | None:
    """Write the image of a frame as <folder>/<stem>: a copy of its file, or else a JPEG of its pixels.

    Only what decodes as an image is copied, and only from below the folder of the data set: a data set of others must
    not carry away any other file.

    Returns:
        The name of the file; None if the frame has no image.

    Raises:
        OSError: the file cannot be written.
        AnnotationError: the image cannot be decoded, or is a link that leads out of the data set.
    """
    if frame.read_image is None:
        return None
    pixels = frame.read_image()
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(frame.read_image, ImageFile):
        path, root = frame.read_image.path, frame.read_image.folder or frame.read_image.path.parent
        if not path.resolve().is_relative_to(root.resolve()):
            raise AnnotationError([Problem(str(path), '', f'is a link that leads out of {root}: copy the image there')])
        name = stem + frame.read_image.path.suffix.lower()
        shutil.copyfile(frame.read_image.path, folder / name)
        return name
    name = f'{stem}.jpg'
    write_image_file(folder / name, pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return name
