"""VideoObject: a tracked object of an annotated video as a source of crops that move as the object did."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.video import AnnotatedFrame, IndexedVideo
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.object_crop import ObjectCrop, crop_object

_CROP_SIDE = 320
"""Longest side in pixels of the largest crop of an object. All its crops are reduced by the same factor."""

_MIN_AREA = 100


class VideoObject:
    """One object of a video as an ObjectSource: `phase` counts frames, and the video plays forwards and backwards.

    Args:
        video: the annotated video.
        class_id: of the object, in the data set that it is added to.
        track_id: of the object; None for the smallest of each frame.
    """

    def __init__(self, video: IndexedVideo, class_id: int, track_id: int | None = None) -> None:
        self.video, self.class_id, self.track_id = video, class_id, track_id
        self._usable: list[tuple[int, float]] | None = None
        self._crops: BoundedCache[ObjectCrop] = BoundedCache(128)

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
        frame = self.video.frame(time)
        assert frame.read_image is not None
        image = cv2.resize(frame.read_image(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = (self._mask(frame) * 255).astype(np.uint8)
        coverage = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
        crop = crop_object(image, coverage, (0, 0), self.class_id, f'{self.video.name}/{frame.name}')
        if crop is None:
            raise ValueError(f'{self.video.name}: the mask {frame.name} has no object')
        return crop

    def _mask(self, frame: AnnotatedFrame) -> NDArray[np.bool_]:
        """The mask (H, W) of the object; empty if the frame does not show it."""
        shown = np.flatnonzero(frame.track_ids == self.track_id) if self.track_id is not None else range(len(frame))
        return decode(frame.masks[shown[0]]) > 0 if len(shown) else np.zeros(frame.size, bool)

    def _reduction(self) -> float:
        return min(1.0, _CROP_SIDE / max(side for _, side in self._usable_frames()))

    def _usable_frames(self) -> list[tuple[int, float]]:
        """(time, longest side) of the frames that show the whole object, at a quarter of its median area or more."""
        if self._usable is None:
            shapes = [_shape(self._mask(self.video.frame(time))) for time in range(len(self.video))]
            median = float(np.median([area for area, _, _ in shapes]))
            seen = [(time, side) for time, (area, side, _) in enumerate(shapes) if area >= max(median / 4, _MIN_AREA)]
            self._usable = [(time, side) for time, side in seen if not shapes[time][2]] or seen
            if not self._usable:
                raise ValueError(
                    f'no frame of the video {self.video.name!r} has an object of {_MIN_AREA} pixels or more'
                )
        return self._usable


def video_objects(videos: Iterable[tuple[IndexedVideo, int | None]]) -> list[VideoObject]:
    """Every tracked object of some videos, one source each.

    Args:
        videos: each with the class id of all its objects, or None for the class ids in its frames.
    """
    objects = []
    for video, class_id in videos:
        classes: dict[int, int] = {}
        for time in range(len(video)):
            frame = video.frame(time)
            classes |= dict(zip(frame.track_ids.tolist(), frame.class_ids.tolist(), strict=True))
        for track_id, own in sorted(classes.items()):
            objects.append(VideoObject(video, own if class_id is None else class_id, track_id))
    return objects


def _shape(mask: NDArray[np.bool_]) -> tuple[int, float, bool]:
    """Area and longest side of an object in pixels, and whether the image border cuts it off."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0.0, True
    cut = rows[0] == 0 or columns[0] == 0 or rows[-1] == mask.shape[0] - 1 or columns[-1] == mask.shape[1] - 1
    return int(mask.sum()), float(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1), bool(cut)
