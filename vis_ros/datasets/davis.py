"""DAVIS folders (https://davischallenge.org): Annotations/<video>/<frame>.png, whose pixels are object numbers, next to
JPEGImages.

DAVIS 2016 has one object per video, in images of 0 and 255. DAVIS 2017 has object numbers, in images with a palette in
which 255 is void. Both are read, and object numbers as gray values or in the colors of the palette as well. There are
no classes. The frames of a video are the annotated ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.conversion_losses import ConversionLosses, disjoint
from vis_ros.datasets.frame_images import ImageFile, folder_names, images_by_stem, stems, write_image
from vis_ros.datasets.mask_png import MaskPng, checked_numbers, decode_mask_png, encode_mask_png, is_gray
from vis_ros.datasets.problems import AnnotationError, Problem
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, IndexedVideo
from vis_ros.datasets.video_summary import VideoSummary, summarize
from vis_ros.image_files import is_hidden, natural_order

VOID = 255
LARGEST_NUMBER = 254

GrayMasks = Literal['auto', 'numbers', 'mask']
"""What mask images without a palette mean: numbers of objects; one mask, of the values from 128 on; or what the values
of the whole video suggest (0 and 255 alone are one mask)."""

_HALF = 128
_FEW_RIMS = 3
_IN_WORDS = {
    'binary': 'gray mask images: 255 is the one object (--gray-masks)',
    'values': 'gray mask images: each value is the number of an object, 255 is void (--gray-masks)',
}


class DavisVideo(IndexedVideo):
    """One folder of mask images.

    Args:
        name: of the video.
        files: the mask image of each frame.
        images: image files by stem.
        gray: what gray images mean, see `GrayMasks`.
    """

    def __init__(self, name: str, files: list[Path], images: dict[str, Path], gray: GrayMasks = 'auto') -> None:
        super().__init__(name, len(files))
        self._files, self._images, self._gray = files, images, gray
        self._is_gray = False

    def frame(self, index: int) -> AnnotatedFrame:
        file = self._files[index]
        try:
            numbers = np.asfortranarray(self._numbers(_read_mask(file)))  # the order of run lengths
        except AnnotationError:
            raise
        except (OSError, ValueError) as error:
            raise AnnotationError([Problem(str(file), '', str(error))]) from error
        ids = [number for number in np.flatnonzero(_histogram(numbers)).tolist() if number not in (0, VOID)]
        void = numbers == VOID
        image = self._images.get(file.stem)
        return AnnotatedFrame(
            name=file.name,
            index=index,
            stamp_ns=None,
            size=(numbers.shape[0], numbers.shape[1]),
            track_ids=np.array(ids, np.int64),
            class_ids=np.zeros(len(ids), np.int64),
            scores=np.ones(len(ids)),
            masks=[encode(numbers == number) for number in ids],
            ignored=encode(void) if void.any() else None,
            read_image=None if image is None else ImageFile(image),
        )

    def _numbers(self, mask: MaskPng) -> NDArray[np.uint8]:
        """(H, W) object numbers."""
        if mask.meaning == 'numbers':
            return mask.values
        values = mask.values
        if mask.meaning == 'colors':
            if self._meaning == 'colors' or not is_gray(values):
                return checked_numbers(values)
            values = values[..., 0]
        if self._meaning == 'binary':
            return (values > 0 if self._gray == 'auto' else values >= _HALF).astype(np.uint8)
        return values

    @property
    def inferred(self) -> str:
        meaning = self._meaning
        return _IN_WORDS.get(meaning, '') if self._is_gray else ''

    @cached_property
    def _meaning(self) -> Literal['binary', 'values', 'colors']:
        """What gray images of this video mean.

        A single frame does not show it: a video of several objects has frames with only 0 and 255 (void), and number 7
        has a gray color in the palette.
        """
        meaning: Literal['binary', 'values'] = 'binary'
        levels: set[int] = set()
        solid: set[int] = set()
        for file in self._files:
            try:
                mask = _read_mask(file)
            except (OSError, ValueError):
                continue  # reported when this frame is read
            if mask.meaning == 'numbers':
                return 'values'
            if mask.meaning == 'colors' and not is_gray(mask.values):
                return 'colors'
            values = mask.values if mask.values.ndim == 2 else mask.values[..., 0]
            self._is_gray = True
            between = _histogram(values)[:VOID] > 0
            if between[1:].any():
                meaning = 'values'
                levels.update(np.flatnonzero(between)[1:].tolist())
                solid.update(_solid_levels(values))
        if self._gray != 'auto':
            return 'values' if self._gray == 'numbers' else 'binary'
        rims = levels - solid
        if len(rims) > max(_FEW_RIMS, len(solid)):
            raise AnnotationError([Problem(str(self._files[0].parent), '', _soft(len(levels), len(rims)))])
        return meaning


def _solid_levels(values: NDArray[np.uint8]) -> list[int]:
    """The values that fill 3x3 pixels somewhere, as an object does and the soft edge of a mask does not."""
    kernel = np.ones((3, 3), np.uint8)
    return np.unique(values[cv2.erode(values, kernel) == cv2.dilate(values, kernel)]).tolist()


def _soft(levels: int, rims: int) -> str:
    return (
        f'the gray values are not plausible as numbers of objects: of {levels} values, {rims} nowhere fill 3x3 pixels, '
        'as in masks with soft edges. Read them as one mask with --gray-masks mask (values from 128 on), or as numbers '
        'nevertheless with --gray-masks numbers'
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def read_davis(path: str | Path, *, images: str | Path | None = None, gray: GrayMasks = 'auto') -> AnnotatedVideos:
    """Read a DAVIS folder, its folder of annotations, one resolution of them, or one folder of mask images.

    Args:
        path: the folder.
        images: folder with a folder of images for each video; by default JPEGImages in place of Annotations.
        gray: what gray images mean.

    Raises:
        AnnotationError: there are no mask images, or several sets of annotations to choose from.
    """
    path = Path(path)
    videos = []
    problems = []
    for folder in _video_folders(_annotation_folder(path)):
        files = _mask_files(folder)
        if not files:
            problems.append(Problem(str(folder), '', 'has no mask image *.png'))
        videos.append(DavisVideo(folder.name, files, images_by_stem(_image_folder(folder, images)), gray))
    if problems:
        raise AnnotationError(problems)
    return AnnotatedVideos(
        source=str(path), kind='DAVIS mask images', class_names=('object',), videos=videos, has_classes=False
    )


def _read_mask(file: Path) -> MaskPng:
    return decode_mask_png(file.read_bytes())


def _histogram(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(values.ravel(), minlength=256)


def _mask_files(folder: Path) -> list[Path]:
    files = [file for file in folder.glob('*.png') if file.is_file() and not is_hidden(file)]
    return sorted(files, key=lambda file: natural_order(file.name))


def _annotation_folder(path: Path) -> Path:
    inside = sorted(folder for folder in path.glob('Annotations*') if folder.is_dir())
    return _only(inside, path) if inside else path


def _video_folders(folder: Path) -> list[Path]:
    """The folders of the single videos. Between them and `folder` there may be one for the resolution (480p)."""
    if _mask_files(folder):
        return [folder]
    inside = sorted(
        (f for f in folder.iterdir() if f.is_dir() and not is_hidden(f)), key=lambda f: natural_order(f.name)
    )
    if any(_mask_files(video) for video in inside):
        return inside
    resolutions = [f for f in inside if any(_mask_files(video) for video in f.iterdir() if video.is_dir())]
    if not resolutions:
        raise AnnotationError([Problem(str(folder), '', 'contains no mask images (*.png or <video>/*.png)')])
    return _video_folders(_only(resolutions, folder))


def _only(folders: list[Path], where: Path) -> Path:
    if len(folders) > 1:
        names = ', '.join(folder.name for folder in folders)
        raise AnnotationError(
            [Problem(str(where), '', f'has several sets of annotations, choose one of them: {names}')]
        )
    return folders[0]


def _image_folder(folder: Path, images: str | Path | None) -> Path:
    if images is not None:
        own = Path(images) / folder.name
        return own if own.is_dir() else Path(images)
    parts = folder.absolute().parts
    places = [place for place, part in enumerate(parts) if part.startswith('Annotations')]
    return Path(*parts[: places[-1]], 'JPEGImages', *parts[places[-1] + 1 :]) if places else folder / 'JPEGImages'


# --- writing ----------------------------------------------------------------------------------------------------------


def write_davis(videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None] = lambda: None) -> list[str]:
    """Write Annotations/<video>/<frame>.png with the VOC palette, and the images in JPEGImages/<video>.

    Objects keep their ids if all ids of the video are from 1 to 254. Overlapping masks are separated by `disjoint`.

    Args:
        videos: what to write.
        folder: the new folder.
        on_frame: called twice for each frame.

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        ValueError: a video has more than 254 objects.
    """
    root = Path(folder)
    summaries = [summarize(video, on_frame) for video in videos.videos]
    for summary in summaries:
        if len(summary.tracks) > LARGEST_NUMBER:
            raise ValueError(
                f'video {summary.name} has {len(summary.tracks)} objects, but a DAVIS image can hold {LARGEST_NUMBER}: '
                'convert it to youtube-vis or mots'
            )
    losses = ConversionLosses()
    for name, video, summary in zip(folder_names([s.name for s in summaries]), videos.videos, summaries, strict=True):
        losses.objects += len(summary.tracks)
        losses.classes += len(summary.tracks) if videos.has_classes else 0
        losses.scores += summary.scored
        losses.stamps += summary.stamped
        _write_video(video, summary, root, name, losses, on_frame)
    return losses.in_words()


def _write_video(
    video: AnnotatedVideo,
    summary: VideoSummary,
    root: Path,
    name: str,
    losses: ConversionLosses,
    on_frame: Callable[[], None],
) -> None:
    masks_folder = root / 'Annotations' / name
    masks_folder.mkdir(parents=True, exist_ok=True)
    number_of = _object_numbers(summary)
    losses.new_ids += sum(track_id != number for track_id, number in number_of.items())
    for stem, frame in zip(stems(summary.names), video, strict=True):
        parts = disjoint(frame)
        numbers = np.zeros(frame.size, np.uint8, order='F')
        if parts.ignored is not None:
            numbers[decode(parts.ignored) > 0] = VOID
        for track_id, mask in zip(frame.track_ids.tolist(), parts.masks, strict=True):
            numbers[decode(mask) > 0] = number_of[track_id]
        (masks_folder / f'{stem}.png').write_bytes(encode_mask_png(numbers))
        write_image(frame, root / 'JPEGImages' / name, stem)
        losses.count_overlaps(parts)
        on_frame()


def _object_numbers(summary: VideoSummary) -> dict[int, int]:
    """Track id -> object number."""
    if all(1 <= track_id <= LARGEST_NUMBER for track_id in summary.tracks):
        return {track_id: track_id for track_id in summary.tracks}
    return {track_id: position + 1 for position, track_id in enumerate(summary.tracks)}
