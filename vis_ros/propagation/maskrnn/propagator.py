"""MaskRnnPropagator: mask propagation with MaskRNN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.propagation.blocks.box_crops import clip_to, mask_boxes
from vis_ros.propagation.blocks.network_input import NetworkInput
from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.maskrnn.network import MaskRnn, gate, refine, scaled_magnitude
from vis_ros.propagation.maskrnn.optical_flow import Flow, dis_flow, warp

_BACKGROUND = 0.5
"""Probability of the background everywhere: a pixel belongs to the most probable object above it (section 3.3)."""

_PRIOR = 0.5
"""Share of the log odds of the object around its box that is added to the logits. The balanced loss treats both classes
as equally probable, which makes objects too large. Not published; chosen on the training half of DAVIS (J 0.64 without
it, 0.76 with it, 0.75 with all of the log odds)."""
_SURROUNDINGS = 1.8
"""The odds are counted in the box of the warped mask, enlarged by this factor as in the losses."""

Image = NDArray[np.uint8]


class MaskRnnPropagator:
    """A `Propagator` that uses MaskRNN.

    Its state: the previous image, and the soft mask of each object in it. There is no reference frame, so an object
    with an empty mask is not found again.

    Args:
        network: causal, in evaluation mode, on `device`. See `delayed_planes` for networks that use the next frame.
        device: of the network.
        flow: optical flow; None takes `dis_flow`.

    Raises:
        ValueError: the network is not causal.
    """

    def __init__(self, network: MaskRnn, device: torch.device, flow: Flow | None = None) -> None:
        if not network.config.causal:
            raise ValueError('this MaskRNN also needs the next frame: use delayed_planes, or weights with causal: true')
        self._network, self._device = network, device
        self._input = NetworkInput(network.config, device)
        self._flow = flow or dis_flow()
        self._masks: dict[int, Tensor] = {}
        self._images: dict[int, Image] = {}
        self._size: tuple[int, ...] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._network.config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._masks))

    def start(self, object_id: int, image: Image, mask: NDArray[np.bool_]) -> None:
        size = check_start(object_id, image, mask, self._size)
        self._masks[object_id] = self._input.soft_mask(mask)
        self._images[object_id] = image.copy()
        self._size = size

    @torch.inference_mode()
    def step(self, image: Image) -> NDArray[np.float32]:
        check_size(image.shape[:2], self._size)
        planes = torch.full((1 + len(self._masks), *image.shape[:2]), _BACKGROUND, device=self._device)
        if not self._masks:
            return planes.fill_(1).cpu().numpy()
        before = {id(each): each for each in self._images.values()}  # one, except after a start
        flows = {key: self._flow(image, each) for key, each in before.items()}
        moved = [_to_flow(flows[id(self._images[number])], self._device) for number in self.object_ids]
        previous = torch.stack([self._masks[number] for number in self.object_ids])[:, None]
        masks = masks_after(self._network, image, previous, [torch.stack(moved)], self._device)[:, 0]
        planes[1:] = masks  # a copy, because the caller owns the result
        kept = image.copy()
        for number, mask in zip(self.object_ids, masks, strict=True):
            self._masks[number], self._images[number] = mask, kept
        return planes.cpu().numpy()

    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        check_size(mask.shape, self._size)
        if object_id not in self._masks:
            raise KeyError(object_id)
        self._masks[object_id] = self._input.soft_mask(mask)

    def forget(self, object_id: int) -> None:
        del self._masks[object_id], self._images[object_id]

    def reset(self) -> None:
        self._masks.clear()
        self._images.clear()
        self._size = None


def masks_after(network: MaskRnn, image: Image, previous: Tensor, flows: list[Tensor], device: torch.device) -> Tensor:
    """The masks (M, 1, h, w) of M objects in an image, limited to their gates. An empty mask stays empty.

    Unlike in the paper, the gate contains the box of the warped mask in addition to the refined box.

    Args:
        network: in evaluation mode, on `device`.
        image: (h, w, 3) uint8 BGR.
        previous: (M, 1, h, w), soft masks in the previous frame.
        flows: (M, 2, h, w), from the image to the previous frame and, if the network is not causal, to the next frame.
        device: of the network.
    """
    size = (image.shape[0], image.shape[1])
    warped = warp(previous, flows[0])
    boxes = clip_to(mask_boxes(warped[:, 0] > 0.5), size)
    pixels = NetworkInput(network.config, device).image(image).expand(len(previous), -1, -1, -1)
    output = network(pixels, warped, torch.cat([scaled_magnitude(flow) for flow in flows], 1), boxes)
    there = (warped > 0.5).flatten(1).any(1)[:, None, None, None]
    refined = refine(boxes, output.deltas)
    both = torch.cat((torch.minimum(boxes, refined)[:, :2], torch.maximum(boxes, refined)[:, 2:]), 1)
    logits = output.logits + _PRIOR * _log_odds(warped > 0.5, boxes)
    found: Tensor = logits.sigmoid() * gate(size, both) * there
    return found


def _log_odds(masks: Tensor, boxes: Tensor) -> Tensor:
    """(M, 1, 1, 1): log odds that a pixel around the box (M, 4) of a mask (M, 1, h, w) is on the mask."""
    surroundings = (boxes[:, 2:] - boxes[:, :2]).prod(1) * _SURROUNDINGS**2
    share = (masks.sum((1, 2, 3)) / surroundings.clamp(min=1)).clamp(0.02, 0.5)
    return share.logit()[:, None, None, None]


@torch.inference_mode()
def delayed_planes(
    network: MaskRnn,
    device: torch.device,
    images: Iterable[Image],
    masks: Mapping[int, NDArray[np.bool_]],
    flow: Flow | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Propagate masks with a network that also uses the next frame, as published.

    Args:
        network: not causal, in evaluation mode, on `device`.
        device: of the network.
        images: (h, w, 3) uint8 BGR. The last image is its own next frame.
        masks: object id -> mask (h, w) in the first image.
        flow: optical flow; None takes `dis_flow`.

    Yields:
        the planes of each image but the first, as in `Propagator.step`, one image late.

    Raises:
        ValueError: the network is causal.
    """
    if network.config.causal:
        raise ValueError('this MaskRNN is causal: use MaskRnnPropagator')
    flow = flow or dis_flow()
    before: Image | None = None
    previous = torch.stack([torch.from_numpy(masks[n].astype(np.float32)) for n in sorted(masks)])[:, None].to(device)
    for image, after in pairwise(_with_last_twice(images)):
        if before is not None:
            flows = [_to_flow(flow(image, other), device).expand(len(masks), -1, -1, -1) for other in (before, after)]
            previous = masks_after(network, image, previous, flows, device)
            background = torch.full((1, *image.shape[:2]), _BACKGROUND, device=device)
            yield torch.cat((background, previous[:, 0])).cpu().numpy()
        before = image


def _with_last_twice(images: Iterable[Image]) -> Iterator[Image]:
    image: Image | None = None
    for image in images:
        yield image
    if image is not None:
        yield image


def _to_flow(flow: NDArray[np.float32], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1))).to(device)
