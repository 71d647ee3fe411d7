"""CompositeVideo: objects that move over a background, and the labels that follow from how they were put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.synthetic.appearance import Appearance
from vis_ros.synthetic.labelled_frame import LabelledFrame
from vis_ros.synthetic.layered_image import IGNORED, LayeredImage
from vis_ros.synthetic.motion import Matrix, Pose, Wave
from vis_ros.synthetic.object_crop import ObjectCrop, ObjectSource


class VirtualCamera(Protocol):
    """A moving view of a background."""

    def matrix(self, time: float) -> Matrix:
        """(3, 3), affine, from pixels of the background to pixels of the image."""
        ...

    def shake_matrix(self, time: float) -> Matrix:
        """(3, 3), the part of the motion that objects follow which do not stand in the scene."""
        ...


class Motion(Protocol):
    """The way of an object. `scale`: its usual pixels per pixel of the cut-out."""

    @property
    def scale(self) -> float: ...

    def position(self, time: float) -> tuple[float, float]: ...

    def pose(self, time: float) -> Pose: ...


@dataclass(frozen=True)
class Visibility:
    """When an object is labelled; the pixels of one that is not are ignored.

    min_pixels: of it must be seen, at least; min_share: so must this share of its whole outline, unless what is seen
    covers a share `large` of the frame.
    """

    min_pixels: int = 40
    min_share: float = 0.15
    large: float = 0.02

    def labelled(self, pixels: int, whole: float, frame: int) -> bool:
        """For an object of which so many pixels are seen, of so many of its whole outline and of the frame."""
        return pixels >= self.min_pixels and (pixels >= self.min_share * whole or pixels >= self.large * frame)


@dataclass(frozen=True, eq=False)
class Background:
    """An image, the objects that it brings along, and how the camera moves over it.

    owner: (h, w) int16, 0 = background, the object ids, IGNORED; class_ids, areas: by object id, areas in pixels.
    """

    image: NDArray[np.uint8]
    owner: NDArray[np.int16]
    class_ids: dict[int, int]
    areas: dict[int, float]

    @classmethod
    def of_frame(cls, frame: LabelledFrame, shortest_side: int | None = None) -> Background:
        """From a labelled image, reduced where its shorter side is longer than needed."""
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
    """A pasted object of one video: what it is, how it moves and how it is lit.

    phase, rate: the phase of its source at time 0, and how fast it goes on; anchor: the camera's inverse matrix at the
    moment from which it moves with the scene, None for an object that moves on its own; light: amplitude of its
    brightness, tint: its constant gain in B, G, R.
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
    """One composed video. `frame(time)` depends on nothing but the video and the time, a whole number of frames.

    actors: from the back to the front; seed: of the noise; length: its natural number of frames.
    """

    def __init__(
        self,
        size: tuple[int, int],
        background: Background,
        camera: VirtualCamera,
        actors: Sequence[MovingObject],
        look: Appearance,
        seed: int,
        length: int = 80,
        visibility: Visibility | None = None,
    ) -> None:
        self.size, self.background, self.camera = size, background, camera
        self.actors, self.look, self.seed = actors, look, seed
        self.length, self.visibility = length, visibility or Visibility()

    def __len__(self) -> int:
        return self.length

    def frame(self, time: int) -> LabelledFrame:
        """The image at a time in frames, with every object that can be seen in it."""
        canvas = LayeredImage(self.size)
        camera = self.camera.matrix(time)
        middle = np.linalg.inv(camera) @ np.array([self.size[1] / 2, self.size[0] / 2, 1.0])
        motion = self._smear(self.camera.matrix, middle, time)
        canvas.draw_background(self.background.image, self.background.owner, camera, motion)
        enlargement = abs(float(np.linalg.det(camera[:2, :2])))
        canvas.areas.update({number: area * enlargement for number, area in self.background.areas.items()})
        for actor in self.actors:
            self._draw(canvas, actor, time)
        image = self.look.record(canvas.image, time, self.seed)
        return self._label(canvas, image)

    def _smear(self, matrix_at: Callable[[float], Matrix], point: Matrix, time: float) -> tuple[float, float]:
        """Pixels (x, y) that a point of a layer moves while the shutter is open."""
        if not self.look.shutter:
            return 0.0, 0.0
        before, after = (matrix_at(time + side * self.look.shutter / 2) @ point for side in (-1, 1))
        x, y = after[:2] / after[2] - before[:2] / before[2]
        return float(x), float(y)

    def _matrix(self, actor: MovingObject, time: float, size: tuple[int, int]) -> Matrix:
        own = actor.motion.pose(time).matrix(size)
        if actor.anchor is not None:
            return self.camera.matrix(time) @ actor.anchor @ own
        return self.camera.shake_matrix(time) @ own

    def _draw(self, canvas: LayeredImage, actor: MovingObject, time: int) -> None:
        cutout = actor.source.cutout(actor.phase + actor.rate * time)
        matrix = self._matrix(actor, time, cutout.size)
        middle = np.array([cutout.size[1] / 2, cutout.size[0] / 2, 1.0])
        smear = self._smear(lambda moment: self._matrix(actor, moment, cutout.size), middle, time)
        if self.look.shadow:
            self._shade(canvas, actor, cutout, matrix)
        gain = 1 + actor.light * actor.light_wave(time)
        blue, green, red = (gain * tint for tint in actor.tint)
        canvas.draw(cutout, actor.object_id, matrix, smear, (blue, green, red), hard_edge=not self.look.feather)

    def _shade(self, canvas: LayeredImage, actor: MovingObject, cutout: ObjectCrop, matrix: Matrix) -> None:
        side = actor.motion.scale * max(cutout.size)
        x, y = self.look.shadow_offset
        moved = np.array([[1, 0, x * side], [0, 1, y * side], [0, 0, 1]])
        canvas.shade(cutout, moved @ matrix, 0.06 * side + 1, self.look.shadow)

    def _label(self, canvas: LayeredImage, image: NDArray[np.uint8]) -> LabelledFrame:
        owner = canvas.owner
        counts = np.bincount(np.maximum(owner, 0).ravel(), minlength=1)
        class_of = dict(self.background.class_ids)
        class_of.update({actor.object_id: actor.source.class_id for actor in self.actors})
        shown: list[int] = []
        hidden = [IGNORED]
        for number in np.flatnonzero(counts).tolist():
            if number:
                (
                    shown if self.visibility.labelled(int(counts[number]), canvas.areas[number], owner.size) else hidden
                ).append(number)
        ignored = np.logical_or.reduce([owner == number for number in hidden])
        return LabelledFrame(
            image=image,
            object_ids=np.array(shown, np.int32),
            class_ids=np.array([class_of[number] for number in shown], np.int32),
            masks=np.array([owner == number for number in shown], np.bool_).reshape(-1, *self.size),
            pasted=np.array([number not in self.background.class_ids for number in shown], np.bool_),
            ignored=ignored if ignored.any() else None,
        )
