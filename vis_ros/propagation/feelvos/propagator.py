"""FeelvosPropagator: mask propagation with FEELVOS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.propagation.blocks.network_input import NetworkInput
from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.feelvos.network import Feelvos, enlarge


@dataclass(frozen=True)
class _Frame:
    """A frame that objects are propagated from, with its embeddings (E, h, w)."""

    image: NDArray[np.uint8]
    embedding: Tensor


@dataclass
class _FeelvosObject:
    """The state of one object.

    reference: embeddings (N, E) of its pixels in its reference frame.
    frame: its previous frame.
    mask: (H, W) bool, its mask in `frame`.
    """

    reference: Tensor
    frame: _Frame
    mask: Tensor


class FeelvosPropagator:
    """A `Propagator` that uses FEELVOS.

    Its state: the embeddings of each object in its reference frame, the previous mask of each object, the previous
    frame, and the embeddings of the background in one reference frame.

    Objects may have different reference frames. The background is matched with the newest one only, without the pixels
    of propagated objects: in older frames, background pixels may belong to objects that were added later. The masks of
    all objects come from one softmax, so each object costs one pass of the dynamic head.

    Args:
        network: in evaluation mode, on `device`.
    """

    def __init__(self, network: Feelvos, device: torch.device) -> None:
        self._network, self._device = network, device
        self._input = NetworkInput(network.config, device)
        self._objects: dict[int, _FeelvosObject] = {}
        self._last: _Frame | None = None
        self._background = torch.zeros(0, network.config.embedding_size, device=device)
        self._size: tuple[int, ...] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._network.config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._objects))

    @torch.inference_mode()
    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        self._size = check_start(object_id, image, mask, self._size)
        frame = self._frame(image)
        present = self._input.mask(mask)
        self._place(object_id, _FeelvosObject(self._pixels(frame, present), frame, present))
        self._background = self._background_of(frame)

    @torch.inference_mode()
    def step(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        check_size(image.shape[:2], self._size)
        objects = [self._objects[number] for number in self.object_ids]
        if not objects:
            self._last = None
            return np.ones((1, *image.shape[:2]), np.float32)
        network = self._network
        features, embeddings = network.encode(self._input.image(image))
        frame = _Frame(image.copy(), embeddings[0])
        masks = torch.stack([~self._union(), *(each.mask for each in objects)])
        global_maps = network.global_maps(frame.embedding, [self._background, *(each.reference for each in objects)])
        logits = network.segment(features[0], global_maps, self._local_maps(frame, objects, masks), masks)
        planes = enlarge(logits).softmax(0)
        labels = planes.max(0).indices  # faster than argmax
        for number, each in enumerate(objects, 1):
            each.frame, each.mask = frame, labels == number
        self._last = frame
        return planes.cpu().numpy()

    @torch.inference_mode()
    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        check_size(mask.shape, self._size)
        known = self._objects[object_id]
        self._place(object_id, _FeelvosObject(known.reference, self._last or known.frame, self._input.mask(mask)))

    def forget(self, object_id: int) -> None:
        del self._objects[object_id]

    def reset(self) -> None:
        self._objects.clear()
        self._last = None
        self._size = None

    # ------------------------------------------------------------------------------------------------------------

    def _frame(self, image: NDArray[np.uint8]) -> _Frame:
        """The frame of an image; it is encoded only if no object has this frame already."""
        known = [self._last] if self._last else []
        for frame in (*known, *(each.frame for each in self._objects.values())):
            if np.array_equal(frame.image, image):
                return frame
        return _Frame(image.copy(), self._network.encode(self._input.image(image))[1][0])

    def _place(self, object_id: int, placed: _FeelvosObject) -> None:
        """Add or replace an object, and remove its pixels from the other objects in the same frame."""
        self._objects[object_id] = placed
        for number, other in self._objects.items():
            if number != object_id and other.frame is placed.frame:
                other.mask = other.mask & ~placed.mask

    def _union(self) -> Tensor:
        return torch.stack([each.mask for each in self._objects.values()]).any(0)

    def _background_of(self, frame: _Frame) -> Tensor:
        """Embeddings (N, E) of the background of a frame. Objects with another frame are located by matching."""
        here = [each.mask for each in self._objects.values() if each.frame is frame]
        cells = ~self._network.cells(torch.stack(here).any(0))
        elsewhere = [each.reference for each in self._objects.values() if each.frame is not frame]
        if elsewhere and len(self._background):
            maps = self._network.global_maps(frame.embedding, [self._background, *elsewhere])
            cells &= maps[0] <= maps[1:].amin(0)
        return frame.embedding[:, cells].T.contiguous()

    def _pixels(self, frame: _Frame, mask: Tensor) -> Tensor:
        """Embeddings (N, E) under a mask (H, W). A mask that contains no cell center gets the cells it touches."""
        cells = self._network.cells(mask)
        if mask.any() and not cells.any():
            stride = self._network.config.matching_stride
            rows, columns = (mask.nonzero() // stride).T
            cells[rows.clamp(max=cells.shape[0] - 1), columns.clamp(max=cells.shape[1] - 1)] = True
        return frame.embedding[:, cells].T.contiguous()

    def _local_maps(self, frame: _Frame, objects: list[_FeelvosObject], masks: Tensor) -> Tensor:
        """(M + 1, h, w). If objects have different previous frames, the nearest background of all of them counts."""
        maps: dict[int, Tensor] = {}
        background = []
        for previous in {id(each.frame): each.frame for each in objects}.values():
            here = [number for number, each in enumerate(objects, 1) if each.frame is previous]
            found = self._network.local_maps(frame.embedding, previous.embedding, masks[[0, *here]])
            background.append(found[0])
            maps.update(zip(here, found[1:], strict=True))
        return torch.stack([torch.stack(background).amin(0), *(maps[number] for number in sorted(maps))])
