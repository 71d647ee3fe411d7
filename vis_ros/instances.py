"""Instances: the objects of one frame, the only thing that flows through the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

TENTATIVE, CONFIRMED, LOST = 0, 1, 2
"""Values of `Instances.states`, equal to the constants of vis_ros/msg/InstanceMask. LOST: not seen in this image; the
box is the last one, the mask is empty."""


@dataclass(frozen=True, eq=False)
class Instances:
    """Parallel arrays of the N objects in one image.

    Lengths, shapes and dtypes are checked at construction; arrays are converted to the dtype given here.

    Detection fields:
        image_size: (height, width) of the source image in pixels.
        boxes: (N, 4) float32, x0 y0 x1 y1 in source pixels, continuous coordinates (x1, y1 exclusive).
        scores: (N,) float32 in [0, 1].
        class_ids: (N,) int32, index into the model's class names.
        rois: (N, 4) int32, x0 y0 x1 y1, the integer window of each mask, inside the image.
        masks: N arrays (y1 - y0, x1 - x0) uint8, 0 or 1, each the crop of its roi.
        embeddings: (N, D) float32 or None.
        class_scores: (N,) float32 of the class alone where `scores` weigh the mask too, or None.

    Tracking fields, None until an identity memory has seen the frame:
        track_ids: (N,) uint32, 0 = no identity.
        match_scores: (N,) float32 in [0, 1], association probability; 1 for a new identity.
        hits: (N,) uint32, frames in which this identity was matched, this one included.
        states: (N,) uint8, TENTATIVE, CONFIRMED or LOST.
        first_seen: (N,) float64, stamp in seconds of the first frame of the identity.
        positions: (N, 3) float32 metres in the camera's optical frame, NaN where not known; None without depth.

    >>> frame = Instances.empty((480, 640))
    >>> len(frame)
    0
    >>> confident = frame[frame.scores > 0.5]         # by boolean mask or by index array
    >>> tracked = frame.with_fields(track_ids=np.zeros(0, np.uint32))
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

    def __post_init__(self) -> None:
        for name, dtype, columns in _ARRAYS:
            value = getattr(self, name)
            if value is None:
                continue
            array: NDArray[Any] = np.asarray(value, dtype)
            shape = (len(array), *columns)
            if array.shape != shape and not (name == 'embeddings' and array.ndim == 2):
                expected = ', '.join(['N', *('D' if size < 0 else str(size) for size in columns)])
                raise ValueError(f'Instances.{name} has shape {array.shape}, expected ({expected})')
            object.__setattr__(self, name, array)
        count = len(self.boxes)
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value is not None and len(value) != count:
                raise ValueError(f'Instances.{field.name} has length {len(value)}, but boxes has length {count}')
        self._check_masks()

    def _check_masks(self) -> None:
        height, width = self.image_size
        for index, (roi, mask) in enumerate(zip(self.rois.tolist(), self.masks, strict=True)):
            x0, y0, x1, y1 = roi
            if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
                raise ValueError(f'Instances.rois[{index}] = {roi} is not inside the image of {width}x{height} pixels')
            if mask.shape != (y1 - y0, x1 - x0):
                raise ValueError(f'Instances.masks[{index}] has shape {mask.shape}, but rois[{index}] = {roi}')
            if mask.dtype != np.uint8:
                raise ValueError(f'Instances.masks[{index}] has dtype {mask.dtype}, expected uint8')

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

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, selection: NDArray[Any] | Sequence[int] | slice) -> Instances:
        """The chosen objects: a boolean mask (N,), an index array or a slice."""
        indices = np.arange(len(self))[selection]
        if indices.ndim != 1:
            raise TypeError(f'Instances are indexed by a mask, an index array or a slice, not by {selection!r}')
        chosen: dict[str, Any] = {'masks': [self.masks[i] for i in indices]}
        for name, _, _ in _ARRAYS:
            value = getattr(self, name)
            chosen[name] = None if value is None else value[indices]
        return replace(self, **chosen)

    def __iter__(self) -> Iterator[Instances]:
        return (self[[index]] for index in range(len(self)))

    def with_fields(self, **values: Any) -> Instances:
        """The same objects with some fields replaced or added."""
        return replace(self, **values)

    @property
    def association_scores(self) -> NDArray[np.float32]:
        """(N,) what identities go by: a known object half hidden has a good mask of what is seen, but a weak class."""
        return self.scores if self.class_scores is None else self.class_scores

    @property
    def least_scores(self) -> NDArray[np.float32]:
        """(N,) what a score threshold is compared with: the lower of the two scores."""
        return np.minimum(self.scores, self.association_scores)

    def areas(self) -> NDArray[np.int64]:
        """(N,) mask pixels of each object."""
        return np.array([np.count_nonzero(mask) for mask in self.masks], np.int64)

    def full_mask(self, index: int) -> NDArray[np.uint8]:
        """(height, width) uint8, 0 or 1: the mask of one object in the whole image."""
        canvas = np.zeros(self.image_size, np.uint8)
        x0, y0, x1, y1 = self.rois[index]
        canvas[y0:y1, x0:x1] = self.masks[index]
        return canvas


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
