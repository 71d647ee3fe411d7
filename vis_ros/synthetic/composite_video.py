"""CompositeVideo: object crops that move over a background, with exact labels from the composition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.synthetic.appearance import Appearance
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.layered_image import IGNORED, LayeredImage
from vis_ros.synthetic.motion import Matrix, Pose, Wave
from vis_ros.synthetic.object_crop import ObjectCrop, ObjectSource


class VirtualCamera(Protocol):
    """A moving view of a background image."""

    def matrix(self, time: float) -> Matrix:
        """(3, 3) affine, from pixels of the background to pixels of the frame."""
        ...

    def shake_matrix(self, time: float) -> Matrix:
        """(3, 3): the part of the motion that also moves objects that do not stand in the scene."""
        ...


class Motion(Protocol):
    """The motion of an object.

    scale: mean number of image pixels per pixel of its crop.
    """

    @property
    def scale(self) -> float: ...

    def position(self, time: float) -> tuple[float, float]: ...

    def pose(self, time: float) -> Pose: ...


@dataclass(frozen=True)
class Visibility:
    """When an object is labeled. The pixels of unlabeled objects are ignored.

    min_pixels: smallest visible area in pixels.
    min_share: smallest visible share of the whole outline...
    large: ... unless the visible part covers this share of the frame.
    """

    min_pixels: int = 40
    min_share: float = 0.15
    large: float = 0.02

    def labeled(self, pixels: int, whole: float, frame: int) -> bool:
        """Whether an object is labeled, from its visible area, the area of its whole outline and that of the frame."""
        return pixels >= self.min_pixels and (pixels >= self.min_share * whole or pixels >= self.large * frame)


@dataclass(frozen=True, eq=False)
class Background:
    """A background image and its own objects.

    image: (h, w, 3) uint8 BGR.
    owner: (h, w) int16: 0 for background, object ids, or IGNORED.
    class_ids: object id -> class id.
    areas: object id -> area in pixels.
    """

    image: NDArray[np.uint8]
    owner: NDArray[np.int16]
    class_ids: dict[int, int]
    areas: dict[int, float]

    @classmethod
    def of_frame(cls, frame: LabeledFrame, shortest_side: int | None = None) -> Background:
        """From a labeled image, reduced if its shorter side is longer than `shortest_side`."""
        height, width = frame.image.shape[:2]
        owner = np.zeros((height, width), np.int16)
        if frame.ignored is not None:
            owner[frame.ignored] = IGNORED
        for number, mask in enumerate(frame.masks, start=1):
            owner[mask] = number
        image = frame.image
        scale = 1.0 if shortest_side is None else min(1.0, shortest_side / min(height, width))
        if scale < 1:
            size = round(width * scale), round(height * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            owner = cv2.resize(owner, size, interpolation=cv2.INTER_NEAREST)
        counts = np.bincount(np.maximum(owner, 0).ravel(), minlength=len(frame) + 1)
        numbers = range(1, len(frame) + 1)
        return cls(
            image=np.ascontiguousarray(image),
            owner=owner,
            class_ids={number: int(frame.class_ids[number - 1]) for number in numbers},
            areas={number: float(counts[number]) for number in numbers},
        )


@dataclass(frozen=True, eq=False)
class MovingObject:
    """A pasted object of one video: what it shows, how it moves and how it is lit.

    object_id: in the labels; 0 for something that only hides other objects.
    source: where its crops come from.
    motion: its path and pose.
    phase: phase of the source at time 0; rate: change of the phase per frame.
    anchor: inverse camera matrix at the time when it is placed in the scene, which it then moves with; None for an
        object that moves independently of the camera.
    light: amplitude of its brightness; light_wave: its course.
    tint: constant gain of the channels B, G, R.
    """

    object_id: int
    source: ObjectSource
    motion: Motion
    phase: float = 0.0
    rate: float = 1.0
    anchor: Matrix | None = None
    light: float = 0.0
    light_wave: Wave = field(default_factory=Wave)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


class CompositeVideo:
    """A synthetic video of moving objects over a background.

    Args:
        size: (height, width) of the frames.
        background: the background image and its own objects.
        camera: how the view moves over the background.
        moving_objects: from back to front.
        appearance: how the images are lit and recorded.
        seed: of the noise.
        length: nominal number of frames; any other frame can be made too.
        visibility: when an object is labeled; None for the defaults.
    """

    def __init__(
        self,
        size: tuple[int, int],
        background: Background,
        camera: VirtualCamera,
        moving_objects: Sequence[MovingObject],
        appearance: Appearance,
        seed: int,
        length: int = 80,
        visibility: Visibility | None = None,
    ) -> None:
        self.size, self.background, self.camera = size, background, camera
        self.moving_objects, self.appearance, self.seed = moving_objects, appearance, seed
        self.length, self.visibility = length, visibility or Visibility()

    def __len__(self) -> int:
        return self.length

    def frame(self, time: int) -> LabeledFrame:
        """Frame number `time` with the labels of the visible objects. Frames can be made in any order."""
        layers = LayeredImage(self.size)
        camera = self.camera.matrix(time)
        middle = np.linalg.inv(camera) @ np.array([self.size[1] / 2, self.size[0] / 2, 1.0])
        motion = self._smear(self.camera.matrix, middle, time)
        layers.draw_background(self.background.image, self.background.owner, camera, motion)
        enlargement = abs(float(np.linalg.det(camera[:2, :2])))
        layers.areas.update({number: area * enlargement for number, area in self.background.areas.items()})
        for moving in self.moving_objects:
            self._draw(layers, moving, time)
        image = self.appearance.record(layers.image, time, self.seed)
        return self._label(layers, image)

    def _smear(self, matrix_at: Callable[[float], Matrix], point: Matrix, time: float) -> tuple[float, float]:
        """Motion (x, y) in pixels of a point of a layer during the exposure."""
        if not self.appearance.shutter:
            return 0.0, 0.0
        before, after = (matrix_at(time + side * self.appearance.shutter / 2) @ point for side in (-1, 1))
        x, y = after[:2] / after[2] - before[:2] / before[2]
        return float(x), float(y)

    def _matrix(self, moving: MovingObject, time: float, size: tuple[int, int]) -> Matrix:
        own = moving.motion.pose(time).matrix(size)
        if moving.anchor is not None:
            return self.camera.matrix(time) @ moving.anchor @ own
        return self.camera.shake_matrix(time) @ own

    def _draw(self, layers: LayeredImage, moving: MovingObject, time: int) -> None:
        crop = moving.source.crop(moving.phase + moving.rate * time)
        matrix = self._matrix(moving, time, crop.size)
        middle = np.array([crop.size[1] / 2, crop.size[0] / 2, 1.0])
        smear = self._smear(lambda moment: self._matrix(moving, moment, crop.size), middle, time)
        if self.appearance.shadow:
            self._shade(layers, moving, crop, matrix)
        gain = 1 + moving.light * moving.light_wave(time)
        blue, green, red = (gain * tint for tint in moving.tint)
        layers.draw(crop, moving.object_id, matrix, smear, (blue, green, red), hard_edge=not self.appearance.feather)

    def _shade(self, layers: LayeredImage, moving: MovingObject, crop: ObjectCrop, matrix: Matrix) -> None:
        side = moving.motion.scale * max(crop.size)
        x, y = self.appearance.shadow_offset
        moved = np.array([[1, 0, x * side], [0, 1, y * side], [0, 0, 1]])
        layers.shade(crop, moved @ matrix, 0.06 * side + 1, self.appearance.shadow)

    def _label(self, layers: LayeredImage, image: NDArray[np.uint8]) -> LabeledFrame:
        owner = layers.owner
        counts = np.bincount(np.maximum(owner, 0).ravel(), minlength=1)
        class_of = dict(self.background.class_ids)
        class_of.update({moving.object_id: moving.source.class_id for moving in self.moving_objects})
        shown: list[int] = []
        hidden = [IGNORED]
        for number in np.flatnonzero(counts).tolist():
            if number:
                labeled = self.visibility.labeled(int(counts[number]), layers.areas[number], owner.size)
                (shown if labeled else hidden).append(number)
        ignored = np.logical_or.reduce([owner == number for number in hidden])
        return LabeledFrame(
            image=image,
            object_ids=np.array(shown, np.int32),
            class_ids=np.array([class_of[number] for number in shown], np.int32),
            masks=np.array([owner == number for number in shown], np.bool_).reshape(-1, *self.size),
            pasted=np.array([number not in self.background.class_ids for number in shown], np.bool_),
            ignored=ignored if ignored.any() else None,
        )
