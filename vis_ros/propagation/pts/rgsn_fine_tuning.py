"""Fine-tuning RGSN for one object on its reference frame."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vis_ros.propagation.blocks.box_crops import clip_to, crop, crop_transform, enlarge_boxes, mask_boxes, shake_boxes
from vis_ros.propagation.blocks.mask_heat_map import mask_heat_map
from vis_ros.propagation.blocks.network_input import NetworkInput
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.pts.network import Pts
from vis_ros.propagation.pts.rgsn import Rgsn
from vis_ros.propagation.torch_parts import TorchParts

_BATCH, _RATE = 4, 2e-4
"""Published: batches of 16 and a rate of 1e-6, for a loss that is summed over the pixels."""
_REFERENCE_CONTEXT, _CONTEXT = 1.5, (1.5, 2.0)
_TURN = math.radians(1)
_LIGHT = (0.8, 1.3)


def fine_tuned_parts(
    parts: NetworkParts,
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    steps: int,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> NetworkParts:
    """The parts of PTS with RGSN fine-tuned for one object; see `fine_tuned`.

    Args:
        parts: in torch.
        image: (h, w, 3) uint8 BGR.
        mask: (h, w), not empty.
        steps: number of training steps.
        is_cancelled: see `fine_tuned`.
    """
    assert isinstance(parts, TorchParts)
    network = cast(Pts, parts.network)
    on_device = NetworkInput(network.config, parts.device)
    rgsn = fine_tuned(
        network.rgsn, on_device.image(image), on_device.mask(mask), network.config.crop_size, steps, is_cancelled
    )
    tuned = copy.copy(network)
    tuned._modules = {**network._modules, 'rgsn': rgsn}
    return TorchParts(tuned, parts.device)


def fine_tuned(
    rgsn: Rgsn, image: Tensor, mask: Tensor, side: int, steps: int, is_cancelled: Callable[[], bool] = lambda: False
) -> Rgsn:
    """A copy of RGSN whose decoder is trained on crops of one frame with Adam. Original and copy share the encoder.

    Each crop is taken at the shaken and enlarged box of the object, may be mirrored, is rotated by up to 1 degree, and
    has another brightness and contrast. As in training, the previous mask is the ground truth as a perturbed heat map.

    Args:
        rgsn: in evaluation mode; it is not changed.
        image: (1, 3, h, w), normalized RGB.
        mask: (h, w) bool, not empty.
        side: of the crops in pixels.
        steps: number of training steps.
        is_cancelled: asked before each step; if so, the remaining steps are left out.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        image, mask = image.clone(), mask.clone()
        tuned = copy.copy(rgsn)
        tuned._modules = {**rgsn._modules, 'decoder': copy.deepcopy(rgsn.decoder).requires_grad_(True).train()}
        optimizer = torch.optim.Adam(tuned.decoder.parameters(), _RATE)
        for _ in range(steps):
            if is_cancelled():
                break
            with torch.no_grad():
                features, reference, truth = _sample(rgsn, image, mask, side)
            loss = functional.cross_entropy(tuned.decoder(features, reference), truth)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        tuned.decoder.eval().requires_grad_(False)
    return tuned


def _sample(rgsn: Rgsn, image: Tensor, mask: Tensor, side: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Features of a batch of crops, features of the reference crop, and the true classes (B, side, side)."""
    size = (image.shape[2], image.shape[3])
    box = mask_boxes(mask[None])
    plane = mask[None, None].float()
    regular = crop_transform(clip_to(enlarge_boxes(box, _REFERENCE_CONTEXT), size), size)
    reference = rgsn.reference(crop(image, regular, side), (crop(plane, regular, side) >= 0.5).float())
    boxes = shake_boxes(box.expand(_BATCH, -1))
    context = boxes.new_empty(_BATCH, 1).uniform_(*_CONTEXT)
    transform = crop_transform(clip_to(enlarge_boxes(boxes, context), size), size)
    transform[:, :, :2] = transform[:, :, :2] @ _flips_and_turns(boxes)
    crops = crop(image.expand(_BATCH, -1, -1, -1), transform, side)
    contrast, brightness = boxes.new_empty(2, _BATCH, 1, 1, 1).uniform_(*_LIGHT)
    crops = crops * contrast + (brightness - 1)
    truth = crop(plane.expand(_BATCH, -1, -1, -1), transform, side)[:, 0] >= 0.5
    features = rgsn.encode(crops, mask_heat_map(truth, perturbed=True)[:, None])
    return features, reference.expand(_BATCH, -1, -1, -1), truth.long()


def _flips_and_turns(boxes: Tensor) -> Tensor:
    """(N, 2, 2) small random rotations; half of them also mirror x."""
    angle = boxes.new_empty(len(boxes)).uniform_(-_TURN, _TURN)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2)
    mirrored = 1 - 2 * (torch.rand(len(boxes), device=boxes.device) < 0.5).float()
    return turn * torch.stack((mirrored, torch.ones_like(mirrored)), 1)[:, None]
