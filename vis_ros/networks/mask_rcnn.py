"""Mask R-CNN (He et al. 2017), built from torchvision's modules.

Each stage is a method of `MaskRCNN`:

    features    ConvNet with a feature pyramid (Lin et al. 2017)
    propose     region proposal network (Ren et al. 2015, section 3)
    roi_align   RoIAlign (He et al. 2017, section 3)
    detect      box head: classes and refined boxes; with a dense head, better names
    masks       mask head
    embeddings  a vector for each detection that association compares between frames

Parameters are named as in torchvision, so that its published weights can be loaded by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import batched_nms, roi_align

from vis_ros.networks.anchors import BOX_WEIGHTS, RPN_WEIGHTS, clip_boxes, decode_boxes, pyramid_anchors
from vis_ros.networks.backbone import STRIDES, build_pyramid
from vis_ros.networks.dense_head import DenseCells, DenseHead
from vis_ros.networks.model_config import ModelConfig

BOX_ROI_SIZE, MASK_ROI_SIZE = 7, 14


@dataclass(frozen=True)
class RawDetections:
    """The D objects of one image, in descending order of score.

    Attributes:
        boxes: (D, 4) x0 y0 x1 y1 in pixels of the network's input.
        scores: (D,).
        labels: (D,) int64, 1 to C (0 is the background).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class _ProposalNetwork(nn.Module):
    """The parameters of the region proposal network."""

    head: nn.Module

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head = RPNHead(config.fpn_channels, len(config.anchor_ratios), config.rpn_layers)


class _RoiHeads(nn.Module):
    """The parameters of the box head and the mask head."""

    box_head: nn.Module
    box_predictor: nn.Module
    mask_head: nn.Module
    mask_predictor: nn.Module

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.fpn_channels
        self.box_head = TwoMLPHead(channels * BOX_ROI_SIZE**2, config.box_head_channels)
        self.box_predictor = FastRCNNPredictor(config.box_head_channels, config.num_classes)
        if config.box_class_agnostic:
            self.box_predictor.bbox_pred = nn.Linear(config.box_head_channels, 4)
        self.mask_head = MaskRCNNHeads(channels, [config.mask_channels] * config.mask_layers, 1)
        mask_classes = 1 if config.mask_class_agnostic else config.num_classes
        self.mask_predictor = MaskRCNNPredictor(config.mask_channels, config.mask_channels, mask_classes)


class MaskRCNN(nn.Module):
    """Weights and inference of Mask R-CNN. The losses are in `vis_ros.training.detection_losses`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_pyramid(config)
        self.rpn = _ProposalNetwork(config)
        self.roi_heads = _RoiHeads(config)
        self.dense_head = DenseHead(config) if config.has_dense_head else None
        self._anchors: dict[tuple[object, ...], list[Tensor]] = {}

    # ConvNet ----------------------------------------------------------------------------------------------------

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps P2 to P6 of images (B, 3, H, W), normalized RGB. H and W are multiples of 32."""
        return self.backbone(images)

    # region proposal network ------------------------------------------------------------------------------------

    def rpn_outputs(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits (B, h * w * A) and deltas (B, h * w * A, 4) of each level."""
        logits, deltas = self.rpn.head(features)
        batch = features[0].shape[0]
        flat_logits = [level.permute(0, 2, 3, 1).reshape(batch, -1) for level in logits]
        flat_deltas = [level.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(batch, -1, 4) for level in deltas]
        return flat_logits, flat_deltas

    def anchors(self, features: list[Tensor], input_size: tuple[int, int]) -> list[Tensor]:
        """Anchors (h * w * A, 4) of each level, cached by shape and device."""
        grids = [(level.shape[2], level.shape[3]) for level in features]
        key = (input_size, *grids, features[0].device)
        if key not in self._anchors:
            device = features[0].device
            self._anchors[key] = [level.to(device) for level in pyramid_anchors(self.config, input_size, grids)]
        return self._anchors[key]

    @torch.no_grad()
    def propose(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Tensor]:
        """The best proposals (P, 4) of each image in descending order of objectness, P at most `config.proposals`.

        Args:
            logits, deltas: of `rpn_outputs`.
            anchors: of each level.
            image_sizes: (height, width) of each image inside its padded input. Proposals are clipped to it.
        """
        config = self.config
        scores, boxes, levels = [], [], []
        for index, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            top, chosen = logit.float().topk(min(config.proposals_before_nms, logit.shape[1]), 1)
            picked = delta.float().gather(1, chosen[..., None].expand(-1, -1, 4))
            boxes.append(decode_boxes(picked, anchor[chosen], RPN_WEIGHTS, config))
            scores.append(top)
            levels.append(torch.full_like(chosen, index))
        all_scores, all_boxes, all_levels = torch.cat(scores, 1), torch.cat(boxes, 1), torch.cat(levels, 1)
        proposals = []
        for score, box, level, size in zip(all_scores, all_boxes, all_levels, image_sizes, strict=True):
            box = clip_boxes(box, size, config)
            large = large_enough(box, config.proposal_min_size, config)
            score, box, level = score[large], box[large], level[large]
            kept = self._nms(box, score, level, config.proposal_nms_threshold)[: config.proposals]
            proposals.append(box[kept])
        return proposals

    # RoIAlign ---------------------------------------------------------------------------------------------------

    def roi_align(self, features: list[Tensor], boxes: list[Tensor], size: int) -> Tensor:
        """Features (R, channels, size, size) of all boxes of all images, each from the level that suits its size.

        The level of a box with area a is floor(4 + log2(sqrt(a) / 224)), limited to P2 to P5 (Lin et al. 2017, eq. 1).

        mmdet 0.x applies no half-pixel correction. Unlike torchvision's RoIAlign without this correction, it does not
        enlarge RoIs to at least one cell. Both together equal torchvision's RoIAlign with the correction, on boxes that
        are shifted by half a cell.
        """
        config = self.config
        one = 1.0 if config.legacy_boxes else 0.0
        counts = [len(box) for box in boxes]
        image = torch.repeat_interleave(
            torch.arange(len(boxes), device=features[0].device), torch.tensor(counts, device=features[0].device)
        )
        box = torch.cat(boxes).float()
        sides = box[:, 2:] - box[:, :2] + one
        levels = torch.floor(4 + torch.log2(sides.prod(1).clamp(min=1e-12).sqrt() / 224 + 1e-6)).clamp(2, 5) - 2
        ends = torch.cat((box[:, :2], box[:, 2:] + one), 1)
        rois = torch.cat((image[:, None].to(ends.dtype), ends), 1)
        output = features[0].new_zeros(len(rois), features[0].shape[1], size, size)
        for level, (feature, stride) in enumerate(zip(features[:4], STRIDES, strict=False)):
            chosen = torch.nonzero(levels == level)[:, 0]
            on_level = rois[chosen]
            if config.legacy_boxes:
                on_level = on_level + rois.new_tensor([0, 1, 1, 1, 1]) * (stride / 2)
            aligned = roi_align(
                feature,
                on_level.to(feature.dtype),
                size,
                1 / stride,
                config.roi_align_samples or -1,
                config.roi_align_aligned or config.legacy_boxes,
            )
            output = output.index_put((chosen,), aligned)
        return output

    # heads ------------------------------------------------------------------------------------------------------

    def box_outputs(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, C + 1) and deltas (R, C + 1 or 1, 4) of RoI features (R, channels, 7, 7)."""
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(rois))
        return logits, deltas.unflatten(1, (-1, 4))

    @torch.no_grad()
    def detect(
        self,
        features: list[Tensor],
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        scales: list[tuple[float, float]],
    ) -> list[RawDetections]:
        """The objects of each image after non-maximum suppression, at most `config.max_detections`.

        Args:
            features: P2 to P6.
            proposals: (P, 4) of each image.
            image_sizes: (height, width) of each image inside its padded input.
            scales: (x, y) factors of each image from source pixels to pixels of the network's input.
        """
        logits, deltas = self.box_outputs(self.roi_align(features, proposals, BOX_ROI_SIZE))
        counts = [len(box) for box in proposals]
        rows = zip(logits.float().split(counts), deltas.float().split(counts), proposals, strict=True)
        voters = self.dense_head(features[1:]).split() if self.dense_head is not None else [None] * len(proposals)
        return [
            self._detect_one(logit, delta, box, size, scale, voter)
            for (logit, delta, box), size, scale, voter in zip(rows, image_sizes, scales, voters, strict=True)
        ]

    def _detect_one(
        self,
        logits: Tensor,
        deltas: Tensor,
        proposals: Tensor,
        size: tuple[int, int],
        scale: tuple[float, float],
        voters: DenseCells | None = None,
    ) -> RawDetections:
        config = self.config
        boxes = clip_boxes(decode_boxes(deltas, proposals[:, None], BOX_WEIGHTS, config), size, config)
        probabilities = logits.softmax(1)
        if config.class_agnostic_scores:
            names, certainty = self.likeliest(probabilities[None, :, 1:], boxes[None, :, 0], voters)
            labels, scores = names[0, :, None] + 1, (1 - probabilities[:, :1]) * certainty[0, :, None]
        else:
            scores = probabilities[:, 1:]
            labels = torch.arange(1, config.num_classes, device=scores.device).expand_as(scores)
        if config.box_class_agnostic:
            boxes = boxes.expand(-1, scores.shape[1], -1)
        elif config.class_agnostic_scores:
            boxes = boxes.gather(1, labels[..., None].expand(-1, -1, 4))
        else:
            boxes = boxes[:, 1:]
        confident = scores > config.score_threshold
        boxes, scores, labels = boxes[confident], scores[confident], labels[confident]
        large = large_enough(boxes, config.detection_min_size, config)
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        source = boxes / boxes.new_tensor([*scale, *scale]) if config.nms_in_source_pixels else boxes
        groups = torch.zeros_like(labels) if config.class_agnostic_scores else labels
        kept = self._nms(source, scores, groups, config.nms_threshold)[: config.max_detections]
        return RawDetections(boxes[kept], scores[kept], labels[kept])

    def likeliest(self, probabilities: Tensor, boxes: Tensor, voters: DenseCells | None) -> tuple[Tensor, Tensor]:
        """The class (B, P), 0 to C - 1, of boxes (B, P, 4) with class probabilities (B, P, C), and a factor (B, P) for
        their scores.
        """
        if self.dense_head is None or voters is None:
            return probabilities.argmax(2), torch.ones_like(probabilities[..., 0])
        return self.dense_head.name(boxes, probabilities, voters)

    def mask_logits(self, rois: Tensor) -> Tensor:
        """Logits (R, C + 1 or 1, 28, 28) of RoI features (R, channels, 14, 14)."""
        return self.roi_heads.mask_predictor(self.roi_heads.mask_head(rois))

    @torch.no_grad()
    def masks(self, features: list[Tensor], detections: list[RawDetections]) -> Tensor:
        """Mask probabilities (R, 28, 28) of all detections of all images, each for its own class."""
        rois = self.roi_align(features, [detection.boxes for detection in detections], MASK_ROI_SIZE)
        labels = torch.cat([detection.labels for detection in detections])
        channel = torch.zeros_like(labels) if self.config.mask_class_agnostic else labels
        return self.mask_logits(rois)[torch.arange(len(rois), device=rois.device), channel].float().sigmoid()

    def embed(self, rois: Tensor) -> Tensor:
        """Embeddings (R, E) of RoI features (R, channels, 7, 7): without a track head, the normalized box-head feature.

        Its length is sqrt(embedding_scale), so that a dot product is embedding_scale times the cosine similarity.
        """
        return functional.normalize(self.roi_heads.box_head(rois).float(), dim=1) * self.config.embedding_scale**0.5

    @torch.no_grad()
    def embeddings(self, features: list[Tensor], detections: list[RawDetections]) -> Tensor:
        """Embeddings (R, E) of all detections, from RoIAlign on their final boxes."""
        return self.embed(self.roi_align(features, [detection.boxes for detection in detections], BOX_ROI_SIZE)).float()

    # whole network ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def forward(
        self, images: Tensor, image_sizes: list[tuple[int, int]], scales: list[tuple[float, float]]
    ) -> tuple[list[RawDetections], Tensor, Tensor]:
        """All stages: the detections of each image, and mask probabilities (R, 28, 28) and embeddings (R, E) of all."""
        features = self.features(images)
        logits, deltas = self.rpn_outputs(features)
        anchors = self.anchors(features, (images.shape[2], images.shape[3]))
        proposals = self.propose(logits, deltas, anchors, image_sizes)
        detections = self.detect(features, proposals, image_sizes, scales)
        return detections, self.masks(features, detections), self.embeddings(features, detections)

    def _nms(self, boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
        if self.config.legacy_boxes:  # as an exclusive corner, an inclusive one is one pixel further out
            boxes = boxes + boxes.new_tensor([0, 0, 1, 1])
        return batched_nms(boxes, scores, groups, threshold)


def large_enough(boxes: Tensor, minimum: float, config: ModelConfig) -> Tensor:
    """Which boxes (..., 4) have sides of at least `minimum` (torchvision), or above 0 if it is 0 (mmdet)."""
    one = 1.0 if config.legacy_boxes else 0.0
    sides = boxes[..., 2:] - boxes[..., :2] + one
    return (sides >= minimum).all(-1) if minimum > 0 else (sides > 0).all(-1)
