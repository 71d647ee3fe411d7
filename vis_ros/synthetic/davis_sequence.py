"""DavisSequence: one sequence of a DAVIS folder, as a labelled video and as an object that can be cut out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.mask_picture import colour_numbers
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.labelled_frame import LabelledFrame
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
"""Sequence -> COCO supercategory of its object. A rider and what it rides are one object, named after the mount."""

DAVIS_TRAIN: tuple[str, ...] = tuple(sorted(DAVIS_CLASSES)[0::2])
"""The half for training: odd places of the alphabetical order."""

DAVIS_TEST: tuple[str, ...] = tuple(sorted(DAVIS_CLASSES)[1::2])
"""The half that is never trained on."""

_CUTOUT_SIDE = 320
"""Longest side in pixels of the largest cut-out of a sequence; the others keep their size relative to it."""


class DavisSequence:
    """The frames `JPEGImages/<name>/*.jpg` and the masks `Annotations/<name>/*.png` of a DAVIS folder.

    Masks are 0 and 255, or numbers of objects as grey values or as colours of the usual palette (255 there is void).
    class_id: given to its objects.

    As a source of cut-outs it shows its object as it is `phase` frames into the sequence, to and fro.
    Raises ValueError, naming the folder, where there are no frames or a frame has no mask.
    """

    def __init__(self, root: str | Path, name: str, class_id: int = 0) -> None:
        self.name, self.class_id = name, class_id
        self.images = sorted(_frame_folder(Path(root), 'JPEGImages', name).glob('*.jpg'))
        annotations = _frame_folder(Path(root), 'Annotations', name)
        self.annotations = [annotations / f'{path.stem}.png' for path in self.images]
        if not self.images:
            raise ValueError(f'{Path(root) / "JPEGImages"} has no frames *.jpg of the sequence {name!r}')
        missing = [path.name for path in self.annotations if not path.is_file()]
        if missing:
            raise ValueError(f'{annotations} has no mask for {len(missing)} of its frames, the first is {missing[0]}')
        self.length = len(self.images)
        self._usable: list[tuple[int, float]] | None = None
        self._cutouts: BoundedCache[ObjectCrop] = BoundedCache(128)

    def __len__(self) -> int:
        return self.length

    def frame(self, time: int) -> LabelledFrame:
        """Frame number `time`. Everything but its annotated objects is ignored: nobody said what it is."""
        image = self._read_image(time)
        numbers = self._read_numbers(time)
        if numbers.shape != image.shape[:2]:
            raise ValueError(f'{self.annotations[time]} has the size {numbers.shape}, its image has {image.shape[:2]}')
        ids = [int(number) for number in np.unique(numbers) if number not in (0, _VOID)]
        return LabelledFrame(
            image=image,
            object_ids=np.array(ids, np.int32),
            class_ids=np.full(len(ids), self.class_id, np.int32),
            masks=np.array([numbers == number for number in ids], bool).reshape(-1, *numbers.shape),
            pasted=np.zeros(len(ids), bool),
            ignored=~np.isin(numbers, ids),
        )

    @property
    def extent(self) -> float:
        """Median longest side of its object in cut-outs, in pixels."""
        sides = [side for _, side in self._usable_frames()]
        return float(np.median(sides)) * self._reduction()

    def cutout(self, phase: float) -> ObjectCrop:
        """The object at a phase in frames; frames where the image border or something else cuts it off are skipped."""
        usable = self._usable_frames()
        turn = max(2 * (len(usable) - 1), 1)
        place = int(np.floor(phase)) % turn
        time = usable[min(place, turn - place) if place >= len(usable) else place][0]
        return self._cutouts.get(time, lambda: self._cut_out(time))

    def _cut_out(self, time: int) -> ObjectCrop:
        scale = self._reduction()
        image = cv2.resize(self._read_image(time), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = (self._object_mask(time) * 255).astype(np.uint8)
        coverage = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
        cutout = crop_object(image, coverage, (0, 0), self.class_id, f'{self.name}/{self.images[time].name}')
        if cutout is None:
            raise ValueError(f'{self.annotations[time]} has no object')
        return cutout

    def _reduction(self) -> float:
        return min(1.0, _CUTOUT_SIDE / max(side for _, side in self._usable_frames()))

    def _usable_frames(self) -> list[tuple[int, float]]:
        """(time, longest side) of the frames with a whole object of at least a quarter of the usual area."""
        if self._usable is None:
            shapes = [_shape(self._object_mask(time)) for time in range(self.length)]
            usual = float(np.median([area for area, _, _ in shapes]))
            seen = [(time, side) for time, (area, side, _) in enumerate(shapes) if area >= max(usual / 4, 100)]
            self._usable = [(time, side) for time, side in seen if not shapes[time][2]] or seen
            if not self._usable:
                raise ValueError(f'no frame of the sequence {self.name!r} has an object of at least 100 pixels')
        return self._usable

    def _object_mask(self, time: int) -> NDArray[np.bool_]:
        """The object with the smallest number."""
        numbers = self._read_numbers(time)
        present = numbers[(numbers > 0) & (numbers != _VOID)]
        return numbers == (present.min() if len(present) else 1)

    def _read_image(self, time: int) -> NDArray[np.uint8]:
        image = cv2.imread(str(self.images[time]), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f'{self.images[time]} cannot be decoded')
        return image

    def _read_numbers(self, time: int) -> NDArray[np.uint8]:
        picture = cv2.imread(str(self.annotations[time]), cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise ValueError(f'{self.annotations[time]} cannot be decoded')
        return object_numbers(picture)


_VOID = 255


def object_numbers(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 numbers of objects, 255 = void, from a mask picture: grey (H, W) or BGR in the palette of VOC.

    A grey picture of 0 and 255 alone shows object 1.
    """
    if picture.ndim == 2 or (picture[..., :3] == picture[..., :1]).all():
        grey = picture if picture.ndim == 2 else picture[..., 0]
        return (grey > 0).astype(np.uint8) if set(np.unique(grey)) <= {0, 255} else grey
    return colour_numbers(picture)


def _frame_folder(root: Path, kind: str, name: str) -> Path:
    """JPEGImages/<name>, or JPEGImages/480p/<name> as the data set is published."""
    folder = root / kind / name
    return folder if folder.is_dir() else root / kind / '480p' / name


def _shape(mask: NDArray[np.bool_]) -> tuple[int, float, bool]:
    """Area, longest side, and whether the image border cuts the object."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0.0, True
    cut = rows[0] == 0 or columns[0] == 0 or rows[-1] == mask.shape[0] - 1 or columns[-1] == mask.shape[1] - 1
    return int(mask.sum()), float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1), bool(cut)


def davis_objects(
    root: str | Path, class_names: Sequence[str], sequences: Sequence[str] = DAVIS_TRAIN, copies: int = 8
) -> list[DavisSequence]:
    """The objects of DAVIS sequences as sources of cut-outs, with the class of DAVIS_CLASSES.

    copies: how often each is listed, so that a few moving objects count beside hundreds of still ones.
    Raises ValueError where a sequence cannot be read or its class is not among the names.
    """
    objects = []
    for name in sequences:
        if name not in DAVIS_CLASSES or DAVIS_CLASSES[name] not in class_names:
            raise ValueError(f'no class for the sequence {name!r}; there are {", ".join(class_names)}')
        sequence = DavisSequence(root, name, list(class_names).index(DAVIS_CLASSES[name]))
        objects += [sequence] * copies
    return objects
