"""MaskRnnLosses: balanced cross entropy of the masks at every depth, and the loss of the refined box."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.propagation.blocks.box_crops import clip_to, enlarge_boxes, mask_boxes
from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.propagation.blocks.mask_damage import damage_soft_masks
from vis_ros.propagation.maskrnn.network import MaskRnn, MaskRnnOutput, box_deltas, scaled_magnitude
from vis_ros.propagation.maskrnn.optical_flow import dis_flow
from vis_ros.propagation.maskrnn.warp import warp

_MIN_PIXELS = 30
_REGION = 1.8
"""The losses count inside the joint box of the ground truth and the warped mask, enlarged by this factor. The gate
removes everything farther outside."""
_STREAM_WEIGHT, _BOX_WEIGHT = 0.3, 0.2
_SIDE_WEIGHTS = ((1 / 3, 0.3), (2 / 3, 0.1), (1.0, 0.0))
"""(progress, weight of the side outputs up to there): three phases, strong, weak and none."""
_OWN = 0.5
"""Share of the frames, later in the run, whose previous mask is the prediction of the network."""


class MaskRnnLosses(nn.Module):
    """The network with its losses as one module.

    In each clip one randomly chosen object is propagated through the frames after the reference frame. Its previous
    mask is the damaged ground truth or the network's own prediction; no gradient flows back in time.
    """

    def __init__(self, network: MaskRnn) -> None:
        super().__init__()
        self.network = network
        self._flow = dis_flow(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def forward(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """The losses 'mask', 'streams', 'sides' and 'box', means over frames and clips.

        All are zero if no clip has an object that is visible in all frames after the reference frame.

        Args:
            images: (B, T, 3, H, W), normalized RGB.
            labels: (B, T, H, W) int64: 0 background, else objects, UNKNOWN. Frame 0 is not used.
            progress: of the run, from 0 to 1.

        Raises:
            ValueError: the clips are too short for a network that is not causal, which needs a frame before and after.
        """
        clips, truth = _choose_objects(labels)
        last = images.shape[1] - (1 if self.network.config.causal else 2)
        if last < 2:
            raise ValueError(
                f'clips have {images.shape[1]} frames, but MaskRNN with causal: false needs at least 4 frames: '
                'set clip_frames: 4'
            )
        if not clips:
            nothing = sum(parameter.sum() for parameter in self.network.parameters()) * images.new_zeros(())
            return {name: nothing for name in ('mask', 'streams', 'sides', 'box')}
        frames = self._frames(images[clips])
        known = labels[clips, :, None] != UNKNOWN
        found: list[dict[str, Tensor]] = []
        own: Tensor | None = None
        for t in range(2, last + 1):
            previous = damage_soft_masks(truth[:, t - 1])
            if own is not None and torch.rand(()) < _OWN * min(progress * 3, 1.0):
                previous = own
            warped, magnitudes = self._moved(previous, frames, t)
            boxes = clip_to(mask_boxes(warped[:, 0] > 0.5), (images.shape[3], images.shape[4]))
            output = self.network(images[clips, t], warped, magnitudes, boxes)
            found.append(_losses(output, truth[:, t], known[:, t], boxes, progress))
            own = output.logits.detach().sigmoid()
        return {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}

    def _frames(self, images: Tensor) -> list[list[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]]]:
        """The images (H, W, 3) uint8 BGR of each clip, for the optical flow."""
        config = self.network.config
        mean, std = (images.new_tensor(each)[:, None, None] for each in (config.mean, config.std))
        pixels = (images * std + mean).clamp(0, 255).round().byte().flip(2).permute(0, 1, 3, 4, 2).contiguous()
        return [list(clip) for clip in pixels.cpu().numpy()]

    def _moved(
        self, previous: Tensor, frames: list[list[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]]], t: int
    ) -> tuple[Tensor, Tensor]:
        """The previous masks warped into frame t, and the magnitudes of the flow from frame t to its neighbors."""
        others = [t - 1] if self.network.config.causal else [t - 1, t + 1]
        flows = [
            torch.from_numpy(np.stack([self._flow(clip[t], clip[other]) for clip in frames])).permute(0, 3, 1, 2)
            for other in others
        ]
        flows = [flow.to(previous) for flow in flows]
        return warp(previous, flows[0]), torch.cat([scaled_magnitude(flow) for flow in flows], 1)


def _choose_objects(labels: Tensor) -> tuple[list[int], Tensor]:
    """Choose one object in each clip that has one in every frame after the reference frame.

    Returns:
        indices of these N clips, and masks (N, T, 1, H, W) float of the chosen objects.
    """
    clips, masks = [], []
    for index, clip in enumerate(labels):
        present = [
            number
            for number in torch.unique(clip).tolist()
            if number not in (0, UNKNOWN) and ((clip[1:] == number).sum((1, 2)) >= _MIN_PIXELS).all()
        ]
        if present:
            number = present[int(torch.randint(len(present), ()))]
            clips.append(index)
            masks.append((clip == number)[:, None].float())
    return clips, torch.stack(masks) if masks else labels.new_zeros(0)


def _losses(output: MaskRnnOutput, truth: Tensor, known: Tensor, boxes: Tensor, progress: float) -> dict[str, Tensor]:
    size = (truth.shape[2], truth.shape[3])
    true_boxes = mask_boxes(truth[:, 0] > 0)
    both = torch.cat((torch.minimum(boxes, true_boxes)[:, :2], torch.maximum(boxes, true_boxes)[:, 2:]), 1)
    counted = known & _inside(clip_to(enlarge_boxes(both, _REGION), size), size)
    weight = next(weight for until, weight in _SIDE_WEIGHTS if progress <= until)
    sides = [
        balanced_cross_entropy(_enlarged(side, size), truth, counted) for stream in output.sides for side in stream
    ]
    streams = [balanced_cross_entropy(stream, truth, counted) for stream in output.streams]
    box = functional.smooth_l1_loss(output.deltas, box_deltas(boxes, true_boxes).clamp(-4, 4))
    return {
        'mask': balanced_cross_entropy(output.logits, truth, counted),
        'streams': torch.stack(streams).mean() * _STREAM_WEIGHT,
        'sides': torch.stack(sides).mean() * weight,
        'box': box * _BOX_WEIGHT,
    }


def _enlarged(side: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(side, size, mode='bilinear')


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 1, H, W) bool, True inside the boxes (N, 4)."""
    x, y = torch.arange(size[1], device=boxes.device), torch.arange(size[0], device=boxes.device)
    columns = (x >= boxes[:, :1]) & (x < boxes[:, 2:3])
    rows = (y >= boxes[:, 1:2]) & (y < boxes[:, 3:])
    return (rows[:, :, None] & columns[:, None])[:, None]


def balanced_cross_entropy(logits: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Sigmoid cross entropy with equal total weight for object and background (HED, Xie and Tu 2015, equation 2).

    Args:
        logits: (N, 1, H, W).
        truth: (N, 1, H, W), 0 or 1.
        counted: (N, 1, H, W) bool, the pixels that count.

    Returns:
        the mean over N.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    parts = []
    for where in (counted & (truth > 0), counted & (truth == 0)):
        parts.append((losses * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1))
    return torch.stack(parts).mean()
