"""FeelvosPropagator: mask propagation with FEELVOS. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.feelvos.reference_bank import ReferenceBank
from vis_ros.propagation.network_parts import NetworkParts, softmax

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_STRIDE = 4
_QUERIES = 576
"""Cells that are compared with all references at once: their products take 4 * 576 bytes for each reference. More are
no faster."""


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame that objects are propagated from, with its embeddings (h, w, E)."""

    image: NDArray[np.uint8]
    embedding: Floats


@dataclass(eq=False)
class _FeelvosObject:
    """The state of one object.

    reference: embeddings (N, E) of its pixels in its reference frame.
    frame: its previous frame.
    mask: (H, W), its mask in `frame`.
    """

    reference: Floats
    frame: _Frame
    mask: Mask


class FeelvosPropagator:
    """A `Propagator` that uses FEELVOS.

    Its state: the embeddings of each object in its reference frame, the previous mask of each object, the previous
    frame, and the embeddings of the background in one reference frame.

    Objects may have different reference frames. The background is matched with the newest one only, without the pixels
    of propagated objects: in older frames, background pixels may belong to objects that were added later. The masks of
    all objects come from one softmax, so each object costs one pass of the dynamic head.
    """

    def __init__(self, parts: NetworkParts) -> None:
        self._parts = parts
        self._config = cast(FeelvosConfig, parts.config)
        self._objects: dict[int, _FeelvosObject] = {}
        self._last: _Frame | None = None
        self._background: Floats = np.zeros((0, self._config.embedding_size), np.float32)
        self._bank: ReferenceBank | None = None
        self._size: tuple[int, ...] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._objects))

    @property
    def state(self) -> Mapping[str, object]:
        return {}

    def start(self, object_id: int, image: NDArray[np.uint8], mask: Mask) -> None:
        self._size = check_start(object_id, image, mask, self._size)
        frame, mask = self._frame(image), self._with_cells(mask)
        self._place(object_id, _FeelvosObject(frame.embedding[self._cells(mask)], frame, mask))
        self._background = self._background_of(frame)

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> Floats:
        check_size(image.shape[:2], self._size)
        objects = [self._objects[number] for number in self.object_ids]
        if not objects:
            self._last = None
            return np.ones((1, *image.shape[:2]), np.float32)
        shared, embedding = self._parts.run('encode', image)
        frame = _Frame(image.copy(), embedding)
        masks = np.stack([~self._union(), *(each.mask for each in objects)])
        global_maps = self._global_maps(embedding, self._reference_bank(objects))
        local_maps = self._local_maps(frame, objects, masks)
        fine = _subsample(masks, _STRIDE).astype(np.float32)
        logits = [
            self._parts.run('segment', shared, global_maps[k : k + 1], local_maps[k : k + 1], fine[k : k + 1])[0]
            for k in range(len(masks))
        ]
        planes = softmax(np.concatenate(logits))
        labels = planes.argmax(0)
        for number, each in enumerate(objects, 1):
            each.frame, each.mask = frame, labels == number
        self._last = frame
        return planes

    def correct(self, object_id: int, mask: Mask) -> None:
        check_size(mask.shape, self._size)
        known = self._objects[object_id]
        self._place(object_id, _FeelvosObject(known.reference, self._last or known.frame, mask.copy()))

    def forget(self, object_id: int) -> None:
        del self._objects[object_id]
        self._bank = None

    def reset(self) -> None:
        self._objects.clear()
        self._last = self._bank = None
        self._size = None

    # ------------------------------------------------------------------------------------------------------------

    def _frame(self, image: NDArray[np.uint8]) -> _Frame:
        """The frame of an image; it is encoded only if no object has this frame already."""
        known = [self._last] if self._last else []
        for frame in (*known, *(each.frame for each in self._objects.values())):
            if np.array_equal(frame.image, image):
                return frame
        return _Frame(image.copy(), self._parts.run('encode', image)[1])

    def _place(self, object_id: int, placed: _FeelvosObject) -> None:
        """Add or replace an object, and remove its pixels from the other objects in the same frame."""
        self._bank = None
        self._objects[object_id] = placed
        for number, other in self._objects.items():
            if number != object_id and other.frame is placed.frame:
                other.mask = other.mask & ~placed.mask

    def _union(self) -> Mask:
        return np.any([each.mask for each in self._objects.values()], axis=0)

    def _cells(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return _subsample(masks, self._config.matching_stride)

    def _background_of(self, frame: _Frame) -> Floats:
        """Embeddings (N, E) of the background of a frame. Objects with another frame are located by matching."""
        here = [each.mask for each in self._objects.values() if each.frame is frame]
        cells = ~self._cells(np.any(here, axis=0))
        elsewhere = [each.reference for each in self._objects.values() if each.frame is not frame]
        if elsewhere and len(self._background):
            maps = self._global_maps(frame.embedding, ReferenceBank.of([self._background, *elsewhere]))
            cells &= maps[0] <= maps[1:].min(0)
        return frame.embedding[cells]

    def _with_cells(self, mask: Mask) -> Mask:
        """A copy of a mask (H, W). If it contains no cell center, those of the cells that it touches are added."""
        copy = mask.copy()
        cells = self._cells(copy)  # a view
        if not cells.any():
            rows, columns = np.array(mask.nonzero()) // self._config.matching_stride
            cells[rows, columns] = True
        return copy

    def _reference_bank(self, objects: Sequence[_FeelvosObject]) -> ReferenceBank:
        if self._bank is None:
            self._bank = ReferenceBank.of([self._background, *(each.reference for each in objects)])
        return self._bank

    def _global_maps(self, embedding: Floats, bank: ReferenceBank) -> Floats:
        """Distances (K, h, w) of the embeddings (h, w, E) of a frame to those of the K objects in a bank."""
        query = embedding.reshape(-1, embedding.shape[2])
        maps = [
            self._parts.run(
                'global_distances', query[first : first + _QUERIES], bank.chunks, bank.owners, any_size=True
            )[0]
            for first in range(0, len(query), _QUERIES)
        ]
        return np.concatenate(maps, 1).reshape(-1, *embedding.shape[:2])

    def _local_maps(self, frame: _Frame, objects: Sequence[_FeelvosObject], masks: NDArray[np.bool_]) -> Floats:
        """(M + 1, h, w). If objects have different previous frames, the nearest background of all of them counts."""
        cells = self._cells(masks).astype(np.float32)
        maps: dict[int, Floats] = {}
        background = []
        for previous in {id(each.frame): each.frame for each in objects}.values():
            here = [number for number, each in enumerate(objects, 1) if each.frame is previous]
            windows = self._parts.run('window_distances', frame.embedding, previous.embedding)[0]
            found = [self._parts.run('local_distances', windows, cells[k])[0][0] for k in (0, *here)]
            background.append(found[0])
            maps.update(zip(here, found[1:], strict=True))
        return np.stack([np.min(background, axis=0), *(maps[number] for number in sorted(maps))])


def _subsample(masks: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Masks (..., H, W) at a stride, sampled at the center of each cell."""
    return masks[..., stride // 2 :: stride, stride // 2 :: stride]
