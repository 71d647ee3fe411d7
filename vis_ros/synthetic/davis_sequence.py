"""DavisSequence: one sequence of a DAVIS folder, as a labeled video and as a source of object crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.davis import DavisVideo
from vis_ros.datasets.frame_images import images_by_stem
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.object_crop import ObjectCrop, crop_object

DAVIS_CLASSES: dict[str, str] = {
    'blackswan': 'animal',
    'bmx-trees': 'vehicle',
    'breakdance': 'person',
    'car-shadow': 'vehicle',
    'cows': 'animal',
    'drift-chicane': 'vehicle',
    'horsejump-high': 'animal',
    'kite-surf': 'person',
    'motocross-jump': 'vehicle',
    'paragliding-launch': 'person',
    'scooter-black': 'vehicle',
    'soapbox': 'vehicle',
}
"""Sequence -> COCO supercategory of its object. A rider and a mount are one object, with the class of the mount."""

DAVIS_TRAIN: tuple[str, ...] = tuple(sorted(DAVIS_CLASSES)[0::2])
"""The training half: every second name in alphabetical order, from the first."""

DAVIS_TEST: tuple[str, ...] = tuple(sorted(DAVIS_CLASSES)[1::2])
"""The other half, which is never trained on."""

_CROP_SIDE = 320
"""Longest side in pixels of the largest crop of a sequence. All crops of a sequence are reduced by the same factor."""

_MIN_AREA = 100


class DavisSequence:
    """The images `JPEGImages/<name>/*` and the masks `Annotations/<name>/*.png` of a DAVIS folder.

    As an ObjectSource it shows its first object at `phase` frames into the sequence, played forwards and backwards.

    Args:
        root: the DAVIS folder.
        name: of the sequence.
        class_id: of its objects.

    length: number of frames.

    Raises:
        ValueError: there are no images, or an image has no mask.
    """

    def __init__(self, root: str | Path, name: str, class_id: int = 0) -> None:
        self.name, self.class_id = name, class_id
        images = images_by_stem(_frame_folder(Path(root), 'JPEGImages', name))
        masks = _frame_folder(Path(root), 'Annotations', name)
        files = [masks / f'{stem}.png' for stem in images]
        if not images:
            raise ValueError(f'{Path(root) / "JPEGImages"} has no images of the sequence {name!r}')
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise ValueError(f'{masks} has no mask for {len(missing)} of its frames, the first is {missing[0]}')
        self.length = len(images)
        self._video = DavisVideo(name, files, images)
        self._usable: list[tuple[int, float]] | None = None
        self._crops: BoundedCache[ObjectCrop] = BoundedCache(128)

    def __len__(self) -> int:
        return self.length

    def frame(self, time: int) -> LabeledFrame:
        """Frame number `time`. Pixels on no annotated object are ignored: they may show objects without labels."""
        frame = self._video.frame(time)
        image = _image(frame)
        if frame.size != image.shape[:2]:
            raise ValueError(
                f'{self.name}: the mask {frame.name} has the size {frame.size}, its image has {image.shape[:2]}'
            )
        masks = np.array([decode(mask) for mask in frame.masks], bool).reshape(-1, *frame.size)
        return LabeledFrame(
            image=image,
            object_ids=frame.track_ids.astype(np.int32),
            class_ids=np.full(len(frame), self.class_id, np.int32),
            masks=masks,
            pasted=np.zeros(len(frame), bool),
            ignored=np.asarray(~masks.any(0), bool),
        )

    @property
    def extent(self) -> float:
        """Median of the longest sides of its crops, in pixels."""
        sides = [side for _, side in self._usable_frames()]
        return float(np.median(sides)) * self._reduction()

    def crop(self, phase: float) -> ObjectCrop:
        """The object at a phase in frames. Frames in which it is small or cut off by the image border are skipped."""
        usable = self._usable_frames()
        period = max(2 * (len(usable) - 1), 1)
        place = int(np.floor(phase)) % period
        time = usable[min(place, period - place) if place >= len(usable) else place][0]
        return self._crops.get(time, lambda: self._make_crop(time))

    def _make_crop(self, time: int) -> ObjectCrop:
        scale = self._reduction()
        frame = self._video.frame(time)
        image = cv2.resize(_image(frame), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = (_first_object(frame) * 255).astype(np.uint8)
        coverage = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
        crop = crop_object(image, coverage, (0, 0), self.class_id, f'{self.name}/{frame.name}')
        if crop is None:
            raise ValueError(f'{self.name}: the mask {frame.name} has no object')
        return crop

    def _reduction(self) -> float:
        return min(1.0, _CROP_SIDE / max(side for _, side in self._usable_frames()))

    def _usable_frames(self) -> list[tuple[int, float]]:
        """(time, longest side) of the frames that show the whole object, at a quarter of its median area or more."""
        if self._usable is None:
            shapes = [_shape(_first_object(self._video.frame(time))) for time in range(self.length)]
            median = float(np.median([area for area, _, _ in shapes]))
            seen = [(time, side) for time, (area, side, _) in enumerate(shapes) if area >= max(median / 4, _MIN_AREA)]
            self._usable = [(time, side) for time, side in seen if not shapes[time][2]] or seen
            if not self._usable:
                raise ValueError(f'no frame of the sequence {self.name!r} has an object of {_MIN_AREA} pixels or more')
        return self._usable


def _image(frame: AnnotatedFrame) -> NDArray[np.uint8]:
    assert frame.read_image is not None
    return frame.read_image()


def _first_object(frame: AnnotatedFrame) -> NDArray[np.bool_]:
    """The mask (H, W) of the object with the smallest id; empty if there is none."""
    return decode(frame.masks[0]) > 0 if len(frame) else np.zeros(frame.size, bool)


def _frame_folder(root: Path, kind: str, name: str) -> Path:
    """<kind>/<name>, or <kind>/480p/<name> as in the published data set."""
    folder = root / kind / name
    return folder if folder.is_dir() else root / kind / '480p' / name


def _shape(mask: NDArray[np.bool_]) -> tuple[int, float, bool]:
    """Area and longest side of an object in pixels, and whether the image border cuts it off."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0.0, True
    cut = rows[0] == 0 or columns[0] == 0 or rows[-1] == mask.shape[0] - 1 or columns[-1] == mask.shape[1] - 1
    return int(mask.sum()), float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1), bool(cut)


def davis_objects(
    root: str | Path, class_names: Sequence[str], sequences: Sequence[str] = DAVIS_TRAIN, copies: int = 8
) -> list[DavisSequence]:
    """The objects of DAVIS sequences as object sources, with the classes of DAVIS_CLASSES.

    Args:
        root: the DAVIS folder.
        class_names: of the data set they are added to.
        sequences: names of the sequences.
        copies: how often each is listed, to give a few moving objects weight beside hundreds of still ones.

    Raises:
        ValueError: a sequence cannot be read, or its class is not in `class_names`.
    """
    objects = []
    for name in sequences:
        if name not in DAVIS_CLASSES or DAVIS_CLASSES[name] not in class_names:
            raise ValueError(f'the sequence {name!r} has none of the classes {", ".join(class_names)}')
        sequence = DavisSequence(root, name, list(class_names).index(DAVIS_CLASSES[name]))
        objects += [sequence] * copies
    return objects
