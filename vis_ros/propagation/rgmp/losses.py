"""RgmpLosses: cross entropy of the mask of one object that is propagated through the frames of a clip."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.propagation.blocks.mask_damage import damage_soft_masks
from vis_ros.propagation.rgmp.network import Rgmp, mask_probability

_AUXILIARY_WEIGHT = 0.2
_LOST = 0.12
"""Share of clips whose first previous mask is empty, so that the network learns to recover objects."""
_UNION = 0.15
"""Share of clips with several objects that train on the union of all objects, which defines the background."""
_HARDEST_FROM, _HARDEST_TO, _HARDEST_SHARE = 0.2, 0.6, 0.25
"""Between the first two values of the progress, the pixels that count go from all to this hardest share."""


class RgmpLosses(nn.Module):
    """The network with its losses as one module.

    In each clip one randomly chosen object is propagated. The previous mask of a frame is the prediction in the frame
    before, and gradients flow back through time (RGMP, section 3.2). The frame before frame 1 is not in the clip: the
    damaged mask of frame 1 replaces its mask.
    """

    def __init__(self, network: Rgmp) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """The losses 'mask' at full resolution and 'auxiliary' at strides 8, 16 and 32, means over frames and clips.

        Both are zero if no clip has an object in frame 0.

        Args:
            images: (B, T, 3, H, W), normalized RGB.
            labels: (B, T, H, W) int64: 0 background, else objects, UNKNOWN. Frame 0 is the reference frame.
            progress: of the run, from 0 to 1.
        """
        clips, truth = _choose_objects(labels)
        if not clips:
            nothing = sum(parameter.sum() for parameter in self.network.parameters()) * images.new_zeros(())
            return {'mask': nothing, 'auxiliary': nothing}
        images, known = images[clips], labels[clips, :, None] != UNKNOWN
        share = _share_of_pixels(progress)
        reference = self.network.reference(images[:, 0], truth[:, 0])
        previous = _first_previous(truth[:, 1])
        main, auxiliary = [], []
        for t in range(1, images.shape[1]):
            logits = self.network.segment(images[:, t], previous, reference)
            fine = functional.interpolate(logits[0], images.shape[3:], mode='bilinear')
            main.append(_cross_entropy(fine, truth[:, t], known[:, t], share))
            auxiliary += [_cross_entropy_of_cells(each, truth[:, t], known[:, t]) for each in logits[1:]]
            previous = mask_probability(logits[0], images.shape[3:])
        return {'mask': torch.stack(main).mean(), 'auxiliary': torch.stack(auxiliary).mean() * _AUXILIARY_WEIGHT}


def _choose_objects(labels: Tensor) -> tuple[list[int], Tensor]:
    """Indices of the N clips with an object in frame 0, and masks (N, T, 1, H, W) float of one object in each."""
    clips, masks = [], []
    for index, clip in enumerate(labels):
        present = torch.unique(clip[0])
        present = present[(present > 0) & (present != UNKNOWN)]
        if len(present) == 0:
            continue
        if len(present) > 1 and torch.rand(()) < _UNION:
            mask = torch.isin(clip, present)
        else:
            mask = clip == present[torch.randint(len(present), ()).item()]
        clips.append(index)
        masks.append(mask[:, None].float())
    return clips, torch.stack(masks) if masks else labels.new_zeros(0)


def _first_previous(mask: Tensor) -> Tensor:
    """Previous masks (N, 1, H, W) for frame 1: its own masks, damaged or sometimes empty."""
    found = torch.rand(len(mask), 1, 1, 1, device=mask.device) >= _LOST
    return damage_soft_masks(mask) * found


def _share_of_pixels(progress: float) -> float:
    late = (progress - _HARDEST_FROM) / (_HARDEST_TO - _HARDEST_FROM)
    return 1 - (1 - _HARDEST_SHARE) * min(max(late, 0.0), 1.0)


def _cross_entropy(logits: Tensor, truth: Tensor, known: Tensor, share: float) -> Tensor:
    """Cross entropy of logits (N, 2, H, W): the mean over the hardest share of the known pixels of each mask."""
    losses = functional.cross_entropy(logits, truth[:, 0].long(), reduction='none')
    means = []
    for loss, mask in zip(losses, known[:, 0], strict=True):
        values = loss[mask]
        if share < 1:
            values = values.topk(math.ceil(share * len(values))).values
        means.append(values.sum() / max(len(values), 1))
    return torch.stack(means).mean()


def _cross_entropy_of_cells(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Cross entropy of logits (N, 2, h, w) with the share of the object among the known pixels of each cell."""
    stride = truth.shape[-1] // logits.shape[-1]
    weight = functional.avg_pool2d(known.float(), stride)
    share = functional.avg_pool2d(truth * known, stride) / weight.clamp(min=1e-6)
    losses = functional.cross_entropy(logits, torch.cat((1 - share, share), 1), reduction='none')
    return (losses * weight[:, 0]).sum() / weight.sum().clamp(min=1)
