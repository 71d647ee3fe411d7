"""MaskRnnPropagator: mask propagation with MaskRNN. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.maskrnn.object_window import ObjectWindow
from vis_ros.propagation.maskrnn.optical_flow import Flow, dis_flow
from vis_ros.propagation.network_parts import NetworkParts

_BACKGROUND = 0.5
"""Probability of the background everywhere: a pixel belongs to the most probable object above it (section 3.3)."""

Image = NDArray[np.uint8]
SoftMask = NDArray[np.float32]


class MaskRnnPropagator:
    """A `Propagator` that uses MaskRNN.

    Its state: the previous image, and the soft mask (1, h, w) of each object in it. There is no reference frame, so an
    object with an empty mask is not found again.

    A network that is not causal, as the published one, also gets the optical flow to the next image, which `step` is
    then given. The last image is its own next image.

    Each object costs a pass of the network. Several objects are segmented in their `ObjectWindow`s.

    Args:
        parts: of the network.
        flow: optical flow; None takes `dis_flow`.
    """

    def __init__(self, parts: NetworkParts, flow: Flow | None = None) -> None:
        self._parts = parts
        self._delayed = parts.config.delayed
        self._flow = flow or dis_flow()
        self._masks: dict[int, SoftMask] = {}
        self._images: dict[int, Image] = {}
        self._size: tuple[int, ...] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._parts.config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._masks))

    @property
    def state(self) -> Mapping[str, object]:
        return {}

    def start(self, object_id: int, image: Image, mask: NDArray[np.bool_]) -> None:
        size = check_start(object_id, image, mask, self._size)
        self._masks[object_id] = _soft(mask)
        self._images[object_id] = image.copy()
        self._size = size

    def step(self, image: Image, after: Image | None = None) -> NDArray[np.float32]:
        check_size(image.shape[:2], self._size)
        if not self._masks:
            return np.ones((1, *image.shape[:2]), np.float32)
        before = {id(each): each for each in self._images.values()}  # one, except after a start
        later = [self._flow(image, image if after is None else after)] if self._delayed else []
        flows = {key: _planes(self._flow(image, each), *later) for key, each in before.items()}
        kept = image.copy()
        for number in self.object_ids:
            flow = flows[id(self._images[number])]
            self._masks[number] = self._segmented(image, self._masks[number], flow)
            self._images[number] = kept
        return _with_background([self._masks[number] for number in self.object_ids])

    def _segmented(self, image: Image, previous: SoftMask, flows: NDArray[np.float32]) -> SoftMask:
        """The mask (1, h, w) of an object in an image, from that in the previous one. An empty mask stays empty."""
        size = (image.shape[0], image.shape[1])
        warped, box = self._parts.run('warp', previous, flows[0])
        if not (warped > _BACKGROUND).any():
            return np.zeros_like(warped)
        window = ObjectWindow.whole(size) if len(self._masks) == 1 else ObjectWindow.around(box, size)
        inputs = window.of_image(image), window.of_planes(warped), box - window.corners, window.of_planes(flows)
        found = self._parts.run('segment', *inputs, any_size=window.size != size)
        return window.placed(_gated(*found), size)

    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        check_size(mask.shape, self._size)
        if object_id not in self._masks:
            raise KeyError(object_id)
        self._masks[object_id] = _soft(mask)

    def forget(self, object_id: int) -> None:
        del self._masks[object_id], self._images[object_id]

    def reset(self) -> None:
        self._masks.clear()
        self._images.clear()
        self._size = None


def _soft(mask: NDArray[np.bool_]) -> SoftMask:
    """A mask (h, w) as (1, h, w), 0 or 1."""
    return mask.astype(np.float32)[None]


def _gated(mask: SoftMask, gate: NDArray[np.float32]) -> SoftMask:
    """A mask (1, h, w) with 0 at the pixels whose centers are outside its gate (4,)."""
    x, y = (np.arange(side) + 0.5 for side in (mask.shape[2], mask.shape[1]))
    columns, rows = (x >= gate[0]) & (x <= gate[2]), (y >= gate[1]) & (y <= gate[3])
    return np.asarray(mask * (rows[:, None] & columns), np.float32)


def _with_background(masks: list[SoftMask]) -> NDArray[np.float32]:
    """Planes (M + 1, h, w) of masks (1, h, w); a copy, because the caller owns the result."""
    return np.concatenate([np.full_like(masks[0], _BACKGROUND), *masks])


def _planes(*flows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Flows (h, w, 2) as (F, 2, h, w)."""
    return np.ascontiguousarray(np.stack(flows).transpose(0, 3, 1, 2))
