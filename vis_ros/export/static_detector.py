"""StaticDetector: `MaskRCNN.forward` in operations whose shapes do not depend on the image, for export.

It uses the weights and layers of the network. The steps that have data-dependent shapes there are implemented here in
another way: the selection of proposals and of detections, non-maximum suppression, and RoIAlign by pyramid level.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.export.graph_file import Target
from vis_ros.export.static_nms import greedy_nms
from vis_ros.export.static_roi_align import StaticRoiAlign
from vis_ros.networks.anchors import BOX_WEIGHTS, RPN_WEIGHTS, decode_boxes, pairwise_iou, pyramid_anchors
from vis_ros.networks.constants import constant, constant_like
from vis_ros.networks.dense_head import DenseCells
from vis_ros.networks.mask_rcnn import BOX_ROI_SIZE, MASK_ROI_SIZE, MaskRCNN, large_enough
from vis_ros.networks.model_config import ModelConfig

CANDIDATES = 1000
"""Number of pairs of box and class, those with the highest scores, that enter the second non-maximum suppression."""

PROPOSAL_ROUNDS, DETECTION_ROUNDS = 32, 16
"""Rounds of non-maximum suppression. With the demo network, photos and synthetic scenes need at most 16 and 8. For the
proposals, a blank image, where all anchors score alike, needs 15 to 20, and a gray gradient more than 32."""

_ABSENT = -1e30
"""Score of an unused row. Finite, because infinity times zero is not zero."""


class StaticDetector(nn.Module):
    """The whole network, from the resized image to detections, in operations that can be exported to ONNX.

    Args:
        network: the trained network; its layers are converted to `precision` in place.
        target: 'cpu' (any size and batch, ONNX RoiAlign, one row for each detection) or 'gpu' (fixed size, GridSample,
            `config.max_detections` rows for each image, with score 0 in unused rows).
        precision: what the layers compute in. Boxes and scores are always computed in fp32.
    """

    def __init__(self, network: MaskRCNN, target: Target, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config: ModelConfig = network.config
        self.target: Target = target
        self.precision = precision
        self.network = network.to(precision)

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        sizes: Tensor,
        scales: Tensor,
        score_threshold: Tensor,
        max_detections: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Detect objects in a batch of images.

        Args:
            images: (B, H, W, 3) BGR, uint8 or (where `config.resize` is 'float') float32 of 0 to 255.
            sizes: (B, 2) float32, height and width of each image inside `images`; pixels outside are ignored.
            scales: (B, 2) float32, x and y factors from source pixels to pixels of `images`.
            score_threshold: (1,) float32, at least 0.
            max_detections: (1,) int64, only for 'cpu'; for 'gpu' it is the one of the config.

        Returns:
            For 'cpu', R rows, ascending by image and then descending by score: boxes (R, 4), scores (R,), labels (R,)
            int64, masks (R, 28, 28), embeddings (R, E), image index (R,) int64, converged (1,) bool.
            For 'gpu', D rows per image: boxes (B, D, 4), scores (B, D), labels (B, D) int32, masks (B, D, 28, 28),
            embeddings (B, D, E), converged (B,) bool.
            converged: the result is that of `MaskRCNN.forward`. If it is false, non-maximum suppression did not
            converge, or had to leave out candidates.
        """
        features = self.network.features(self._normalized(images, sizes))
        roi_align = StaticRoiAlign(self.config, self.target, features)
        proposals, real, proposals_converged = self._propose(features, images, sizes)
        batch, count = real.shape[0], real.shape[1]
        dense = self.network.dense_head
        voters = dense(features[1:]) if dense is not None else None
        rois = roi_align(proposals.reshape(-1, 4), _image_index(proposals), BOX_ROI_SIZE)
        logits, deltas = self.network.box_outputs(rois)
        rows = (batch, count, -1)
        candidates = self._candidates(
            logits.float().reshape(rows), deltas.float().reshape(batch, count, -1, 4), proposals, real, sizes, voters
        )
        boxes, scores, labels, kept, detections_converged = self._suppress(
            *candidates, scales, score_threshold, max_detections
        )
        converged = proposals_converged & detections_converged
        if self.target == 'cpu':
            return self._rows(roi_align, boxes, scores, labels, kept, converged)
        return self._slots(roi_align, boxes, scores, labels, kept, converged)

    def _normalized(self, images: Tensor, sizes: Tensor) -> Tensor:
        """Images (B, 3, H, W) normalized RGB, zero outside of each image."""
        config = self.config
        mean, std = (constant(values[::-1], torch.float32, images.device) for values in (config.mean, config.std))
        rows = torch.arange(images.shape[1], device=images.device)[:, None]
        columns = torch.arange(images.shape[2], device=images.device)
        inside = (rows < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])
        normalized = (images.float() - mean) / std * inside[..., None].float()
        return normalized.permute(0, 3, 1, 2)[:, [2, 1, 0]].to(self.precision)

    def _propose(self, features: list[Tensor], images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Proposals (B, P, 4), which of them are real (B, P), and whether their suppression converged (B,)."""
        config = self.config
        count = config.proposals_before_nms
        logits, deltas = self.network.rpn_outputs(features)
        anchors = self._anchors(features, (images.shape[1], images.shape[2]))
        scores, boxes = [], []
        for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
            padded = functional.pad(logit.float(), (0, count), value=_ABSENT)  # a small level may have fewer anchors
            top, chosen = padded.topk(count, 1)
            picked = functional.pad(delta.float(), (0, 0, 0, count)).gather(1, chosen[..., None].expand(-1, -1, 4))
            reference = functional.pad(anchor.to(delta.device), (0, 0, 0, count))[chosen]
            boxes.append(self._clip(decode_boxes(picked, reference, RPN_WEIGHTS, config), sizes))
            scores.append(top)
        score, box = torch.stack(scores, 1), torch.stack(boxes, 1)  # (B, levels, K), (B, levels, K, 4)
        real = (score > _ABSENT / 2) & large_enough(box, config.proposal_min_size, config)
        kept, converged = greedy_nms(self._overlap(box) > config.proposal_nms_threshold, real, PROPOSAL_ROUNDS)
        ranked = torch.where(kept, score, constant_like(_ABSENT, score)).flatten(1)
        best, chosen = ranked.topk(min(config.proposals, count * len(features)), 1)
        proposals = box.flatten(1, 2).gather(1, chosen[..., None].expand(-1, -1, 4))
        return proposals, best > _ABSENT / 2, converged.all(1)

    def _anchors(self, features: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        if torch.onnx.is_in_onnx_export():  # the sizes are computed in the graph then
            return pyramid_anchors(self.config, size, [(level.shape[2], level.shape[3]) for level in features])
        return self.network.anchors(features, size)

    def _candidates(
        self,
        logits: Tensor,
        deltas: Tensor,
        proposals: Tensor,
        real: Tensor,
        sizes: Tensor,
        voters: DenseCells | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pairs of box and class with the highest scores.

        Args:
            logits: (B, P, C + 1).
            deltas: (B, P, C + 1 or 1, 4).
            proposals, real, sizes: as in the other methods.
            voters: of the dense head, if there is one.

        Returns:
            Boxes (B, M, 4), scores (B, M) in descending order, labels (B, M), and the highest score (B,) of the pairs
            that are left out.
        """
        config = self.config
        probabilities = logits.softmax(2)
        if config.class_agnostic_scores:
            boxes = self._clip(decode_boxes(deltas[:, :, 0], proposals, BOX_WEIGHTS, config), sizes)
            names, certainty = self.network.likeliest(probabilities[..., 1:], boxes, voters)
            scores = (1 - probabilities[..., 0]) * certainty
            classes = 1
        else:
            scores = probabilities[..., 1:].flatten(1)
            classes = config.num_classes - 1
        present = real[..., None].expand(-1, -1, classes).flatten(1)
        scores = torch.where(present, scores, constant_like(_ABSENT, scores))
        total = proposals.shape[1] * classes
        count = min(total, CANDIDATES)
        best, chosen = scores.topk(min(count + 1, total), 1)
        left_out = best[:, count:].amax(1) if total > count else torch.full_like(best[:, 0], _ABSENT)
        best, chosen = best[:, :count], chosen[:, :count]
        row = chosen // classes
        labels = names.gather(1, row) + 1 if config.class_agnostic_scores else chosen % classes + 1
        column = torch.zeros_like(labels) if config.box_class_agnostic else labels
        delta = deltas.flatten(1, 2).gather(1, (row * deltas.shape[2] + column)[..., None].expand(-1, -1, 4))
        reference = proposals.gather(1, row[..., None].expand(-1, -1, 4))
        return self._clip(decode_boxes(delta, reference, BOX_WEIGHTS, config), sizes), best, labels, left_out

    def _suppress(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        left_out: Tensor,
        scales: Tensor,
        score_threshold: Tensor,
        max_detections: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores and labels unchanged, which of them are detections (B, M), and whether that is exact (B,)."""
        config = self.config
        limit = config.max_detections if max_detections is None else max_detections
        real = (scores > score_threshold) & large_enough(boxes, config.detection_min_size, config)
        factors = (
            scales if config.nms_in_source_pixels else scales.clamp(1.0, 1.0)
        )  # so that the graph has this input in any case
        source = boxes / torch.cat((factors, factors), 1)[:, None]
        overlapping = self._overlap(source) > config.nms_threshold
        if not config.class_agnostic_scores:
            overlapping = overlapping & (labels[:, :, None] == labels[:, None, :])
        kept, converged = greedy_nms(overlapping, real, DETECTION_ROUNDS)
        rank = kept.float().cumsum(1)
        complete = (left_out <= score_threshold) | (rank[:, -1] >= limit)
        return boxes, scores, labels, kept & (rank <= limit), converged & complete

    def _rows(
        self, roi_align: StaticRoiAlign, boxes: Tensor, scores: Tensor, labels: Tensor, kept: Tensor, converged: Tensor
    ) -> tuple[Tensor, ...]:
        """The outputs for 'cpu': one row for each detection."""
        indices = kept.nonzero()
        image, candidate = indices[:, 0], indices[:, 1]
        box, score, label = boxes[image, candidate], scores[image, candidate], labels[image, candidate]
        masks, embeddings = self._masks(roi_align, box, label, image), self._embeddings(roi_align, box, image)
        return box, score, label, masks, embeddings, image, converged.all()[None]

    def _slots(
        self, roi_align: StaticRoiAlign, boxes: Tensor, scores: Tensor, labels: Tensor, kept: Tensor, converged: Tensor
    ) -> tuple[Tensor, ...]:
        """The outputs for 'gpu': a fixed number of rows for each image."""
        count = min(self.config.max_detections, scores.shape[1])
        score, chosen = torch.where(kept, scores, torch.zeros_like(scores)).topk(count, 1)
        box = boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
        label = labels.gather(1, chosen)
        flat, image = box.reshape(-1, 4), _image_index(box)
        masks = self._masks(roi_align, flat, label.reshape(-1), image)
        embeddings = self._embeddings(roi_align, flat, image)
        each = (len(box), count)
        return box, score, label.int(), masks.unflatten(0, each), embeddings.unflatten(0, each), converged

    def _masks(self, roi_align: StaticRoiAlign, boxes: Tensor, labels: Tensor, image: Tensor) -> Tensor:
        """Mask probabilities (R, 28, 28). The last layer computes only the channel of each box's class."""
        heads = self.network.roi_heads
        predictor: Any = heads.mask_predictor
        hidden = predictor.relu(self._upsample(heads.mask_head(roi_align(boxes, image, MASK_ROI_SIZE))))
        last = predictor.mask_fcn_logits
        if self.config.mask_class_agnostic:
            logits = last(hidden)[:, 0]
        else:
            weight = last.weight.flatten(1)[labels]
            logits = torch.matmul(weight[:, None], hidden.flatten(2)) + last.bias[labels][:, None, None]
            logits = logits.reshape(-1, *hidden.shape[2:])
        return logits.float().sigmoid()

    def _upsample(self, features: Tensor) -> Tensor:
        """The transposed convolution of the mask head."""
        layer: Any = self.network.roi_heads.mask_predictor.conv5_mask
        if self.precision != torch.bfloat16:
            return layer(features)
        # TensorRT-RTX accepts this layer in bf16 but cannot build it.
        upsampled = functional.conv_transpose2d(
            features.float(), layer.weight.float(), layer.bias.float(), layer.stride, layer.padding
        )
        return upsampled.to(self.precision)

    def _embeddings(self, roi_align: StaticRoiAlign, boxes: Tensor, image: Tensor) -> Tensor:
        return self.network.embed(roi_align(boxes, image, BOX_ROI_SIZE)).float()

    def _clip(self, boxes: Tensor, sizes: Tensor) -> Tensor:
        """Boxes (B, ..., 4) clipped to their images. Like `anchors.clip_boxes`, but sizes are a tensor."""
        width_height = sizes[:, [1, 0]] - (1.0 if self.config.legacy_boxes else 0.0)
        return boxes.clamp(min=0).minimum(torch.cat((width_height, width_height), 1)[:, None])

    def _overlap(self, boxes: Tensor) -> Tensor:
        if self.config.legacy_boxes:  # as an exclusive corner, an inclusive one is one pixel further out
            boxes = boxes + constant_like((0, 0, 1, 1), boxes)
        return pairwise_iou(boxes, boxes)


def _image_index(boxes: Tensor) -> Tensor:
    """(B * R,) index of the image of each of the boxes (B, R, 4)."""
    index = torch.arange(boxes.shape[0], device=boxes.device)
    return index[:, None].expand(-1, boxes.shape[1]).reshape(-1)
