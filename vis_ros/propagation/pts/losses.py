"""PtsLosses: cross entropy of the mask of RGSN in crops around one object. OTN is trained online only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.bootstrapped_loss import bootstrapped_cross_entropy
from vis_ros.propagation.blocks.box_crops import clip_to, crop, crop_transform, enlarge_boxes, mask_boxes, shake_boxes
from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.propagation.blocks.mask_heat_map import mask_heat_map
from vis_ros.propagation.pts.network import Pts

_REFERENCE_CONTEXT = 1.5
_CONTEXT = (1.5, 2.0)
"""Range of the ratio of the sides of a crop and of the shaken box of the object."""
_MIN_PIXELS = 50
"""Smallest area of an object in the reference frame."""
_LOST = 0.1
"""Share of previous masks that are empty, so that the network learns to find objects by the reference frame alone."""


class PtsLosses(nn.Module):
    """The network with its losses as one module.

    In each clip one randomly chosen object is cropped from every frame after the reference frame, at its box, which is
    shaken and enlarged at random. The previous mask is the ground truth of the frame before as a perturbed heat map.
    The frame before frame 1 is not in the clip: the mask of frame 1 replaces its mask.
    """

    def __init__(self, network: Pts) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """The loss 'mask', a mean over crops. In the second half of the run only the hardest pixels count.

        It is zero if no clip has an object of at least 50 pixels in frame 0.

        Args:
            images: (B, T, 3, H, W), normalized RGB.
            labels: (B, T, H, W) int64: 0 background, else objects, UNKNOWN. Frame 0 is the reference frame.
            progress: of the run, from 0 to 1.
        """
        clips, masks = _choose_objects(labels)
        if not clips:
            return {'mask': images.new_zeros(()) * sum(each.sum() for each in self.network.rgsn.parameters())}
        frames, side = images.shape[1] - 1, self.network.config.crop_size
        images, known = images[clips], labels[clips] != UNKNOWN
        transform = _reference_transform(masks[:, 0])
        reference = self.network.rgsn.reference(
            crop(images[:, 0], transform, side), _crop_masks(masks[:, 0], transform, side)[:, None].float()
        )
        previous = torch.cat((masks[:, 1:2], masks[:, 1:-1]), 1).flatten(0, 1)
        images, masks, known = (each[:, 1:].flatten(0, 1) for each in (images, masks, known))
        transform = _transform(masks, previous)
        heat_map = mask_heat_map(_crop_masks(previous & _found(previous), transform, side), perturbed=True)
        logits = self.network.rgsn(
            crop(images, transform, side), heat_map[:, None], reference.repeat_interleave(frames, 0)
        )
        truth, counted = _crop_masks(masks, transform, side), _crop_masks(known, transform, side)
        truth = torch.stack((~truth, truth), 1)
        share = _share_of_pixels(progress)
        losses = [bootstrapped_cross_entropy(*each, share) for each in zip(logits, truth, counted, strict=True)]
        return {'mask': torch.stack(losses).mean()}


def _choose_objects(labels: Tensor) -> tuple[list[int], Tensor]:
    """Indices of the N clips with a large enough object in frame 0, and masks (N, T, H, W) bool of one in each."""
    clips, masks = [], []
    for index, clip in enumerate(labels):
        numbers, areas = torch.unique(clip[0], return_counts=True)
        numbers = numbers[(numbers > 0) & (numbers != UNKNOWN) & (areas >= _MIN_PIXELS)]
        if len(numbers):
            clips.append(index)
            masks.append(clip == numbers[torch.randint(len(numbers), ()).item()])
    return clips, torch.stack(masks) if masks else labels.new_zeros(0)


def _share_of_pixels(progress: float) -> float:
    """Share of the pixels of a crop that count: all, and in the second half of the run down to half of them."""
    return 1 - 0.5 * max(2 * progress - 1, 0.0)


def _reference_transform(masks: Tensor) -> Tensor:
    size = (masks.shape[1], masks.shape[2])
    return crop_transform(clip_to(enlarge_boxes(mask_boxes(masks), _REFERENCE_CONTEXT), size), size)


def _transform(masks: Tensor, previous: Tensor) -> Tensor:
    """Crop transforms at masks (N, H, W), at the previous masks if those are empty, or else of the whole frame."""
    size = (masks.shape[1], masks.shape[2])
    boxes, before = mask_boxes(masks), mask_boxes(previous)
    boxes = torch.where(boxes.any(1, keepdim=True), boxes, before)
    boxes = torch.where(boxes.any(1, keepdim=True), boxes, boxes.new_tensor([0, 0, size[1], size[0]]))
    context = boxes.new_empty(len(boxes), 1).uniform_(*_CONTEXT)
    return crop_transform(clip_to(enlarge_boxes(shake_boxes(boxes), context), size), size)


def _crop_masks(masks: Tensor, transform: Tensor, side: int) -> Tensor:
    """(N, side, side) bool of masks (N, H, W)."""
    return crop(masks[:, None].float(), transform, side)[:, 0] >= 0.5


def _found(masks: Tensor) -> Tensor:
    return torch.rand(len(masks), 1, 1, device=masks.device) >= _LOST
