"""The six losses of MaskTrack R-CNN: objectness, proposal boxes, classes, boxes, masks and tracks.

Matching and sampling follow Faster R-CNN (Ren et al. 2015) and Mask R-CNN (He et al. 2017), with the components of
torchvision. The track loss is L_track of MaskTrack R-CNN (Yang et al. 2019). Each image of a pair is the key frame once
and the reference frame once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher
from torchvision.ops import box_iou, roi_align

from vis_ros.networks.anchors import BOX_WEIGHTS, RPN_WEIGHTS, encode_boxes
from vis_ros.networks.mask_rcnn import BOX_ROI_SIZE, MASK_ROI_SIZE, MaskRCNN
from vis_ros.networks.masktrack_rcnn import MaskTrackRCNN, track_logits

LOSSES = ('rpn_objectness', 'rpn_box', 'class', 'box', 'mask', 'track')

_MASK_SIZE = 28
_ANCHOR_MATCHER = Matcher(0.7, 0.3, allow_low_quality_matches=True)
_ROI_MATCHER = Matcher(0.5, 0.5)
_IGNORED_SHARE = 0.5


@dataclass(frozen=True)
class TrainingTarget:
    """The ground truth of one image.

    boxes: (N, 4) float32, in pixels of the input.
    labels: (N,) int64, 1 to C.
    object_ids: (N,) int64; an object has the same id in both images of a pair.
    masks: (N, H, W) uint8, in their own resolution.
    ignored: (H, W) uint8 or None, in the resolution of the masks: pixels that are neither object nor background.
    mask_scale: (x, y) resolution of the masks relative to the input.
    """

    boxes: Tensor
    labels: Tensor
    object_ids: Tensor
    masks: Tensor
    ignored: Tensor | None = None
    mask_scale: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Sampling:
    """Number of anchors and RoIs per image in the losses, and the maximum share of positive ones among them."""

    anchors: int = 64
    anchor_positives: float = 0.5
    rois: int = 64
    roi_positives: float = 0.25


@dataclass(frozen=True)
class _SampledRois:
    """RoIs of one image. boxes: (R, 4); labels: (R,), 0 for background; matched: (R,), index of the matched object."""

    boxes: Tensor
    labels: Tensor
    matched: Tensor

    @property
    def positive(self) -> Tensor:
        return torch.nonzero(self.labels > 0)[:, 0]


class DetectionLosses(nn.Module):
    """The network with its losses as one module, so that DistributedDataParallel can wrap it."""

    def __init__(self, network: MaskRCNN, sampling: Sampling) -> None:
        super().__init__()
        self.network, self.sampling = network, sampling

    def forward(self, images: Tensor, targets: list[TrainingTarget], sizes: list[tuple[int, int]]) -> dict[str, Tensor]:
        return detection_losses(self.network, images, targets, self.sampling, sizes)


def detection_losses(
    network: MaskRCNN,
    images: Tensor,
    targets: list[TrainingTarget],
    sampling: Sampling,
    sizes: list[tuple[int, int]] | None = None,
) -> dict[str, Tensor]:
    """The losses of a batch by the names in LOSSES, without 'track' for networks without a track head.

    Args:
        network: in training mode.
        images: (2 B, 3, H, W): B key frames, then their B reference frames in the same order.
        targets: one for each image.
        sampling: of anchors and RoIs.
        sizes: (height, width) of each image without padding; None if nothing is padded.

    Raises:
        ValueError: the config of the network has legacy_boxes.
    """
    if network.config.legacy_boxes:
        raise ValueError('networks with legacy_boxes cannot be trained: set legacy_boxes: false')
    features = network.features(images)
    logits, deltas = network.rpn_outputs(features)
    size = (images.shape[2], images.shape[3])
    anchors = network.anchors(features, size)
    found = _rpn_losses(torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(anchors), targets, sampling)
    proposals = network.propose(logits, deltas, anchors, sizes or [size] * len(images))
    rois = [sample_rois(boxes, target, sampling) for boxes, target in zip(proposals, targets, strict=True)]
    box_features = network.roi_align(features, [roi.boxes for roi in rois], BOX_ROI_SIZE)
    found |= _box_losses(network, box_features, rois, targets)
    found['mask'] = _mask_loss(network, features, rois, targets)
    if isinstance(network, MaskTrackRCNN):
        found['track'] = _track_loss(network, features, box_features, rois, targets)
    return found


def _precise(outputs: Tensor) -> Tensor:
    """The outputs in float32 or better, regardless of the precision of the network."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _rpn_losses(
    logits: Tensor, deltas: Tensor, anchors: Tensor, targets: list[TrainingTarget], sampling: Sampling
) -> dict[str, Tensor]:
    sampler = BalancedPositiveNegativeSampler(sampling.anchors, sampling.anchor_positives)
    labels, wanted = [], []
    for target in targets:
        label, matched = _match_anchors(anchors, target)
        labels.append(label)
        wanted.append(encode_boxes(matched, anchors, RPN_WEIGHTS))
    positive, negative = (torch.stack(masks).bool() for masks in sampler(labels))
    label, target_deltas = torch.stack(labels), torch.stack(wanted)
    sampled = positive | negative
    count = sampled.sum().clamp(min=1)
    scores = _precise(logits)[sampled]
    objectness = functional.binary_cross_entropy_with_logits(scores, label[sampled].to(scores), reduction='sum')
    box = functional.smooth_l1_loss(_precise(deltas)[positive], target_deltas[positive], beta=1 / 9, reduction='sum')
    return {'rpn_objectness': objectness / count, 'rpn_box': box / count}


def _match_anchors(anchors: Tensor, target: TrainingTarget) -> tuple[Tensor, Tensor]:
    """Labels (A,) float: 1 object, 0 background, -1 ignored; and the matched ground truth boxes (A, 4)."""
    if len(target.boxes) == 0:
        label = anchors.new_zeros(len(anchors))
        matched = anchors
    else:
        index = _ANCHOR_MATCHER(box_iou(target.boxes, anchors))
        label = (index >= 0).float()
        label[index == Matcher.BETWEEN_THRESHOLDS] = -1
        matched = target.boxes[index.clamp(min=0)]
    if target.ignored is not None:
        label[(label == 0) & (_ignored_share(anchors, target) > _IGNORED_SHARE)] = -1
    return label, matched


def sample_rois(proposals: Tensor, target: TrainingTarget, sampling: Sampling) -> _SampledRois:
    """Sample RoIs of one image from proposals and ground truth boxes, matched at IoU 0.5."""
    boxes = torch.cat((proposals, target.boxes))
    if len(target.boxes) == 0:
        matched = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        labels = matched.clone()
    else:
        index = _ROI_MATCHER(box_iou(target.boxes, boxes))
        matched = index.clamp(min=0)
        labels = torch.where(index >= 0, target.labels[matched], 0)
    if target.ignored is not None:
        labels[(labels == 0) & (_ignored_share(boxes, target) > _IGNORED_SHARE)] = -1
    sampler = BalancedPositiveNegativeSampler(sampling.rois, sampling.roi_positives)
    (positive,), (negative,) = sampler([labels])
    chosen = torch.nonzero(positive.bool() | negative.bool())[:, 0]
    return _SampledRois(boxes[chosen], labels[chosen], matched[chosen])


def _ignored_share(boxes: Tensor, target: TrainingTarget) -> Tensor:
    """(N,) share of ignored pixels in each box, by a summed-area table."""
    assert target.ignored is not None
    table = functional.pad(target.ignored.float().cumsum(0).cumsum(1), (1, 0, 1, 0))
    corners = (boxes * boxes.new_tensor(target.mask_scale * 2)).round().long()
    x0, x1 = (corners[:, i].clamp(0, table.shape[1] - 1) for i in (0, 2))
    y0, y1 = (corners[:, i].clamp(0, table.shape[0] - 1) for i in (1, 3))
    inside = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return inside / ((x1 - x0) * (y1 - y0)).clamp(min=1)


def _box_losses(
    network: MaskRCNN, features: Tensor, rois: list[_SampledRois], targets: list[TrainingTarget]
) -> dict[str, Tensor]:
    logits, deltas = network.box_outputs(features)
    labels = torch.cat([roi.labels for roi in rois])
    classes = functional.cross_entropy(_precise(logits), labels)
    positive = torch.nonzero(labels > 0)[:, 0]
    boxes = torch.cat([roi.boxes for roi in rois])[positive]
    true = torch.cat([target.boxes[roi.matched[roi.positive]] for roi, target in zip(rois, targets, strict=True)])
    column = torch.zeros_like(positive) if network.config.box_class_agnostic else labels[positive]
    wanted = encode_boxes(true, boxes, BOX_WEIGHTS)
    box = functional.smooth_l1_loss(_precise(deltas)[positive, column], wanted, beta=1.0, reduction='sum')
    return {'class': classes, 'box': box / max(len(labels), 1)}


def _mask_loss(
    network: MaskRCNN, features: list[Tensor], rois: list[_SampledRois], targets: list[TrainingTarget]
) -> Tensor:
    boxes = [roi.boxes[roi.positive] for roi in rois]
    labels = torch.cat([roi.labels[roi.positive] for roi in rois])
    logits = _precise(network.mask_logits(network.roi_align(features, boxes, MASK_ROI_SIZE)))
    if len(labels) == 0:
        return logits.sum() * 0
    channel = torch.zeros_like(labels) if network.config.mask_class_agnostic else labels
    wanted = torch.cat([mask_targets(roi, target) for roi, target in zip(rois, targets, strict=True)])
    chosen = logits[torch.arange(len(labels), device=labels.device), channel]
    return functional.binary_cross_entropy_with_logits(chosen, wanted.to(chosen))


def mask_targets(rois: _SampledRois, target: TrainingTarget) -> Tensor:
    """(P, 28, 28) float, 0 or 1: the ground truth mask of each positive RoI, resampled to its box."""
    positive = rois.positive
    if len(positive) == 0:
        return rois.boxes.new_zeros(0, _MASK_SIZE, _MASK_SIZE)
    index = rois.matched[positive]
    scale = rois.boxes.new_tensor(target.mask_scale * 2)
    regions = torch.cat((index[:, None].float(), rois.boxes[positive] * scale), 1)
    masks = target.masks[:, None].float()
    return (roi_align(masks, regions, _MASK_SIZE, 1.0, 2, True)[:, 0] >= 0.5).float()


def _track_loss(
    network: MaskTrackRCNN,
    features: list[Tensor],
    box_features: Tensor,
    rois: list[_SampledRois],
    targets: list[TrainingTarget],
) -> Tensor:
    """L_track = -sum_i log p_i(y_i) over positive RoIs (Yang et al. 2019), averaged over RoIs, then over images."""
    pairs = len(targets) // 2
    memory = _precise(network.embed(network.roi_align(features, [target.boxes for target in targets], BOX_ROI_SIZE)))
    remembered = memory.split([len(target.boxes) for target in targets])
    offsets = torch.tensor([len(roi.labels) for roi in rois]).cumsum(0).tolist()
    positives = [roi.positive + offset - len(roi.labels) for roi, offset in zip(rois, offsets, strict=True)]
    embeddings = _precise(network.embed(box_features[torch.cat(positives)])).split([len(p) for p in positives])
    terms = []
    for index, (roi, target, embedding) in enumerate(zip(rois, targets, embeddings, strict=True)):
        other = (index + pairs) % len(targets)
        if len(embedding) == 0:
            continue
        wanted = identity_targets(target.object_ids[roi.matched[roi.positive]], targets[other].object_ids)
        terms.append(functional.cross_entropy(track_logits(embedding, remembered[other]), wanted))
    return torch.stack(terms).mean() if terms else memory.sum() * 0


def identity_targets(object_ids: Tensor, reference_ids: Tensor) -> Tensor:
    """(M,) int64: 1 + index of the same object in the reference frame, 0 if it is not there."""
    same = object_ids[:, None] == reference_ids[None]
    if same.shape[1] == 0:
        return torch.zeros_like(object_ids)
    return torch.where(same.any(1), same.int().argmax(1) + 1, 0)
