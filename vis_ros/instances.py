"""Instances: the objects of one frame. Every network, tracker, message and file of this package takes or gives them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks.crop import tight_box
from vis_ros.masks.pasted_masks import PastedMasks

TENTATIVE, CONFIRMED, LOST, BRIDGED = 0, 1, 2, 3
"""Values of `Instances.states`, equal to the constants of vis_ros/msg/InstanceMask. A LOST track is not visible in this
frame: its box is the last one, its mask is empty. A BRIDGED one is confirmed, but was not detected in this frame: its
mask is propagated."""

_STATE_NAMES = {TENTATIVE: ' tentative', CONFIRMED: '', LOST: ' lost', BRIDGED: ' bridged'}


@dataclass(frozen=True, eq=False)
class Instances:
    """The N objects in one image, as parallel arrays.

    Construction and `with_fields` check lengths, shapes and dtypes of what they are given, and convert arrays to the
    dtype given here. A wrong length, shape or mask window raises ValueError. Selections are not checked again. `print`
    shows one line per object.

    Detection fields:
        image_size: (height, width) of the source image in pixels.
        boxes: (N, 4) float32, x0 y0 x1 y1 in source pixels, continuous coordinates (x1, y1 exclusive).
        scores: (N,) float32 in [0, 1].
        class_ids: (N,) int32, index into `class_names`.
        rois: (N, 4) int32, x0 y0 x1 y1, the integer window of each mask, inside the image.
        masks: N arrays (y1 - y0, x1 - x0) uint8, 0 or 1, each the crop of its roi. Those of a detector are computed
            when one is first read (`PastedMasks`).
        embeddings: (N, D) float32 or None.
        class_scores: (N,) float32 score of the class alone where `scores` include mask quality, or None.
        class_names: the names of all classes of the model, or None.

    Tracking fields, None before a tracker has seen the frame:
        track_ids: (N,) uint32, 0 = no track.
        match_scores: (N,) float32 in [0, 1], association probability; 1 for a new track.
        hits: (N,) uint32, frames in which this track was matched, this one included.
        states: (N,) uint8, TENTATIVE, CONFIRMED, LOST or BRIDGED.
        first_seen: (N,) float64, stamp in seconds of the first frame of the track.
        positions: (N, 3) float32 meters in the camera's optical frame, NaN where unknown; None without depth.

    >>> frame = Instances.empty((480, 640))
    >>> len(frame)
    0
    >>> confident = frame[frame.scores > 0.5]         # by boolean mask, index array, slice or single index
    >>> tracked = frame.with_fields(track_ids=np.zeros(0, np.uint32))
    >>> square = np.zeros((1, 480, 640), bool)
    >>> square[0, 100:200, 300:400] = True
    >>> print(Instances.from_masks(square, class_names=('box',)))
    box 1.00 at x 300-400, y 100-200
    """

    image_size: tuple[int, int]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    rois: NDArray[np.int32]
    masks: Sequence[NDArray[np.uint8]]
    embeddings: NDArray[np.float32] | None = None
    class_scores: NDArray[np.float32] | None = None
    track_ids: NDArray[np.uint32] | None = None
    match_scores: NDArray[np.float32] | None = None
    hits: NDArray[np.uint32] | None = None
    states: NDArray[np.uint8] | None = None
    first_seen: NDArray[np.float64] | None = None
    positions: NDArray[np.float32] | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._check(_NAMES)

    def _check(self, names: Collection[str]) -> None:
        """Check the fields of these names, and convert their arrays."""
        for name, dtype, columns in _ARRAYS:
            value = getattr(self, name)
            if value is None or name not in names:
                continue
            array: NDArray[Any] = np.asarray(value, dtype)
            shape = (len(array), *columns)
            if array.shape != shape and not (name == 'embeddings' and array.ndim == 2):
                expected = ', '.join(['N', *('D' if size < 0 else str(size) for size in columns)])
                raise ValueError(f'Instances.{name} has shape {array.shape}, expected ({expected})')
            object.__setattr__(self, name, array)
        count = len(self.boxes)
        for name in _LISTS:
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise ValueError(f'Instances.{name} has length {len(value)}, but boxes has length {count}')
        if not _WINDOW_FIELDS.isdisjoint(names):
            self._check_masks()

    def _check_masks(self) -> None:
        height, width = self.image_size
        are_pasted = isinstance(self.masks, PastedMasks) and np.array_equal(self.masks.rois, self.rois)
        for index, roi in enumerate(self.rois.tolist()):
            x0, y0, x1, y1 = roi
            if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
                raise ValueError(f'Instances.rois[{index}] = {roi} is not inside the image of {width}x{height} pixels')
            if are_pasted:  # they have the shapes of their rois; to read one would paste them all
                continue
            mask = self.masks[index]
            if mask.shape != (y1 - y0, x1 - x0):
                raise ValueError(f'Instances.masks[{index}] has shape {mask.shape}, but rois[{index}] = {roi}')
            if mask.dtype != np.uint8:
                raise ValueError(f'Instances.masks[{index}] has dtype {mask.dtype}, expected uint8')

    def _changed(self, **values: Any) -> Instances:
        """The same fields but for these values, which are not checked."""
        changed = object.__new__(Instances)
        changed.__dict__.update(self.__dict__, **values)
        return changed

    @classmethod
    def empty(cls, image_size: tuple[int, int], embedding_size: int | None = None) -> Instances:
        """No objects in an image of (height, width) pixels."""
        return cls(
            image_size=image_size,
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            class_ids=np.zeros(0, np.int32),
            rois=np.zeros((0, 4), np.int32),
            masks=[],
            embeddings=None if embedding_size is None else np.zeros((0, embedding_size), np.float32),
        )

    @classmethod
    def from_masks(
        cls,
        masks: ArrayLike,
        class_ids: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Instances:
        """The objects that some full-size masks show, with the tight box of each mask as box and roi.

        Args:
            masks: (N, H, W), zero or not. An empty mask gets an empty box.
            class_ids: (N,) integers; all 0 if not given.
            scores: (N,) in [0, 1]; all 1 if not given.
            class_names: by class id.
        """
        planes = np.asarray(masks) != 0
        if planes.ndim != 3:
            raise ValueError(f'masks have shape {planes.shape}, expected (N, height, width)')
        count = len(planes)
        for name, values in (('class_ids', class_ids), ('scores', scores)):
            if values is not None and np.shape(values) != (count,):
                raise ValueError(f'{name} have shape {np.shape(values)}, expected ({count},) for {count} masks')
        rois = np.array([tight_box(plane) for plane in planes], np.int32).reshape(-1, 4)
        crops = [plane[y0:y1, x0:x1].astype(np.uint8) for plane, (x0, y0, x1, y1) in zip(planes, rois, strict=True)]
        return cls(
            image_size=(planes.shape[1], planes.shape[2]),
            boxes=rois.astype(np.float32),
            scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            class_ids=np.zeros(count, np.int32) if class_ids is None else np.asarray(class_ids, np.int32),
            rois=rois,
            masks=crops,
            class_names=None if class_names is None else tuple(class_names),
        )

    @classmethod
    def cat(cls, parts: Sequence[Instances]) -> Instances:
        """All objects of several Instances of one image, in order. A field that any part lacks is None.

        Raises:
            ValueError: there is no part, or image sizes or class names differ.
        """
        if not parts:
            raise ValueError('Instances.cat needs at least one part')
        if sizes := {part.image_size for part in parts} - {parts[0].image_size}:
            raise ValueError(f'parts are of images of different size: {parts[0].image_size} and {sizes.pop()}')
        if any(part.class_names != parts[0].class_names for part in parts):
            raise ValueError('parts have different class names')
        joined: dict[str, Any] = {'masks': [mask for part in parts for mask in part.masks]}
        for name, _, _ in _ARRAYS:
            values = [getattr(part, name) for part in parts]
            joined[name] = None if any(value is None for value in values) else np.concatenate(values)
        return parts[0]._changed(**joined)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: NDArray[Any] | Sequence[int] | slice | int) -> Instances:
        """The chosen objects, by boolean mask (N,), index array or slice; a single index gives one object."""
        indices = np.atleast_1d(np.arange(len(self))[selection])
        if indices.ndim != 1:
            raise TypeError(f'Instances are indexed by a mask, an index array, a slice or an index, not {selection!r}')
        masks = self.masks
        chosen: dict[str, Any] = {
            'masks': masks.chosen(indices) if isinstance(masks, PastedMasks) else [masks[i] for i in indices]
        }
        for name, _, _ in _ARRAYS:
            value = getattr(self, name)
            chosen[name] = None if value is None else value[indices]
        return self._changed(**chosen)

    def __str__(self) -> str:
        """One line per object: track id, class, score, state if not confirmed, box in pixels, position in meters."""
        return '\n'.join(self._line(index) for index in range(len(self))) or 'no objects'

    def __repr__(self) -> str:
        height, width = self.image_size
        shown = ', '.join(f'{name} {score:.2f}' for name, score in zip(self.names, self.scores.tolist(), strict=True))
        return f'<Instances: {len(self)} in {width}x{height}{": " if shown else ""}{shown}>'

    def _line(self, index: int) -> str:
        track = '' if self.track_ids is None else f'{self.track_ids[index]} '
        state = '' if self.states is None else _STATE_NAMES.get(int(self.states[index]), '')
        x0, y0, x1, y1 = self.boxes[index].round().astype(int).tolist()
        line = f'{track}{self.names[index]} {self.scores[index]:.2f}{state} at x {x0}-{x1}, y {y0}-{y1}'
        if self.positions is None or not np.isfinite(self.positions[index]).all():
            return line
        return line + ', {:.2f} {:.2f} {:.2f} m'.format(*self.positions[index].tolist())

    def __iter__(self) -> Iterator[Instances]:
        return (self[index] for index in range(len(self)))

    def with_fields(self, **values: Any) -> Instances:
        """The same objects with some fields replaced or added."""
        if unknown := values.keys() - _NAMES:
            raise TypeError(f'Instances have no field {unknown.pop()!r}')
        changed = self._changed(**values)
        changed._check(values)
        return changed

    @property
    def names(self) -> list[str]:
        """The class name of each object; 'class 7' where `class_names` does not have it."""
        known = self.class_names or ()
        return [known[i] if 0 <= i < len(known) else f'class {i}' for i in self.class_ids.tolist()]

    @property
    def association_scores(self) -> NDArray[np.float32]:
        """(N,) the scores that association uses: a half-hidden known object has a good mask but a weak class score."""
        return self.scores if self.class_scores is None else self.class_scores

    @property
    def least_scores(self) -> NDArray[np.float32]:
        """(N,) the lower of the two scores, which the score threshold applies to."""
        return np.minimum(self.scores, self.association_scores)

    def areas(self) -> NDArray[np.int64]:
        """(N,) number of mask pixels of each object."""
        return np.array([np.count_nonzero(mask) for mask in self.masks], np.int64)

    def full_mask(self, index: int) -> NDArray[np.uint8]:
        """(height, width) uint8, 0 or 1: the mask of one object in the whole image."""
        full = np.zeros(self.image_size, np.uint8)
        x0, y0, x1, y1 = self.rois[index]
        full[y0:y1, x0:x1] = self.masks[index]
        return full

    def draw(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of the image, (height, width, 3) uint8 BGR, with outlines, track ids, class names and scores."""
        from vis_ros.visualization import draw_overlay  # needs OpenCV, which the arrays do not

        return draw_overlay(image, self)


_ARRAYS: tuple[tuple[str, type, tuple[int, ...]], ...] = (
    ('boxes', np.float32, (4,)),
    ('scores', np.float32, ()),
    ('class_ids', np.int32, ()),
    ('rois', np.int32, (4,)),
    ('embeddings', np.float32, (-1,)),
    ('class_scores', np.float32, ()),
    ('track_ids', np.uint32, ()),
    ('match_scores', np.float32, ()),
    ('hits', np.uint32, ()),
    ('states', np.uint8, ()),
    ('first_seen', np.float64, ()),
    ('positions', np.float32, (3,)),
)
_LISTS = ('masks', *(name for name, _, _ in _ARRAYS[1:]))
"""Fields with one entry for each of `boxes`."""
_WINDOW_FIELDS = frozenset(('image_size', 'rois', 'masks'))
_NAMES = frozenset(field.name for field in fields(Instances))
