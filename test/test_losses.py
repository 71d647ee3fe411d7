"""The six losses against formulas, brute force and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network, track_logits
from vis_ros.networks.model_config import ModelConfig
from vis_ros.training.detection_losses import (
    LOSSES,
    Sampling,
    TrainingTarget,
    _ignored_share,
    detection_losses,
    identity_targets,
    mask_targets,
    sample_rois,
)

SMALL = ModelConfig(
    name='small',
    class_names=('circle', 'square'),
    backbone='resnet18',
    fpn_channels=16,
    fpn_norm='group',
    anchor_scale=4.0,
    proposals_before_nms=50,
    proposals=30,
    roi_align_samples=2,
    box_head_channels=32,
    mask_channels=16,
    mask_layers=1,
    embedding_size=16,
)


def rectangles(boxes: list[list[int]], ids: list[int], size: tuple[int, int] = (64, 96)) -> TrainingTarget:
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return TrainingTarget(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)) % 2 + 1,
        object_ids=torch.tensor(ids, dtype=torch.int64),
        masks=masks,
    )


PAIR = [
    rectangles([[10, 10, 40, 50], [50, 20, 80, 44]], [7, 3]),
    rectangles([[54, 18, 84, 42], [12, 12, 42, 52], [0, 0, 12, 12]], [3, 7, 9]),
]


def small_network(config: ModelConfig = SMALL) -> MaskRCNN:
    torch.manual_seed(0)
    network = build_network(config)
    for head in network.track_head.fcs if hasattr(network, 'track_head') else ():
        torch.nn.init.normal_(head.weight, 0, 0.05)
    return network


def test_track_logits_are_equation_2() -> None:
    """p_i(n) = exp(f_i.f_n) / (1 + sum_j exp(f_i.f_j)), and 1 / (...) for n = 0, computed term by term."""
    generator = torch.Generator().manual_seed(1)
    embeddings, memory = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (4, 3))
    probabilities = track_logits(embeddings, memory).softmax(1)
    for i in range(4):
        exponentials = [math.exp(sum(a * b for a, b in zip(embeddings[i], memory[n], strict=True))) for n in range(3)]
        denominator = 1 + sum(exponentials)
        expected = [1 / denominator, *(e / denominator for e in exponentials)]
        assert probabilities[i].tolist() == pytest.approx(expected, rel=1e-12)


def test_track_logits_of_an_empty_memory_mean_a_new_object() -> None:
    assert track_logits(torch.randn(3, 5), torch.zeros(0, 5)).softmax(1).tolist() == [[1.0]] * 3


def test_identity_targets_point_into_the_reference_frame() -> None:
    targets = identity_targets(torch.tensor([5, 8, 5, 1]), torch.tensor([1, 9, 5]))
    assert targets.tolist() == [3, 0, 3, 1]
    assert identity_targets(torch.tensor([5, 8]), torch.tensor([], dtype=torch.int64)).tolist() == [0, 0]


def test_losses_have_their_names_and_are_finite() -> None:
    images = torch.randn(2, 3, 64, 96)
    found = detection_losses(small_network(), images, PAIR, Sampling())
    assert set(found) == set(LOSSES)
    assert all(torch.isfinite(value) for value in found.values())
    plain = detection_losses(small_network(SMALL.with_fields(architecture='mask_rcnn')), images, PAIR, Sampling())
    assert set(plain) == set(LOSSES) - {'track'}


def test_a_pair_without_objects_trains_the_background() -> None:
    empty = rectangles([], [])
    network = small_network()
    found = detection_losses(network, torch.randn(2, 3, 64, 96), [empty, empty], Sampling())
    torch.stack(list(found.values())).sum().backward()
    assert found['rpn_objectness'] > 0
    assert found['box'] == found['mask'] == found['track'] == found['rpn_box'] == 0


PARAMETERS = {
    'rpn_objectness': 'rpn.head.cls_logits.',
    'rpn_box': 'rpn.head.bbox_pred.',
    'class': 'roi_heads.box_predictor.cls_score.',
    'box': 'roi_heads.box_predictor.bbox_pred.',
    'mask': 'roi_heads.mask_predictor.mask_fcn_logits.',
    'track': 'track_head.fcs.1.',
}
"""The last layer before each loss."""


@pytest.mark.parametrize('loss', LOSSES)
def test_gradients_against_finite_differences(loss: str) -> None:
    """In double precision, along random directions of the last layer: what is sampled stays the same, and no ReLU is
    crossed, so the losses are smooth."""
    network = small_network().double()
    parameters = [p for name, p in network.named_parameters() if name.startswith(PARAMETERS[loss])]
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def value() -> Tensor:
        torch.manual_seed(3)  # the same boxes are sampled each time
        return detection_losses(network, images, PAIR, Sampling())[loss]

    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(4)
    for _ in range(3):
        directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
        analytic = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
        values = []
        for sign in (1, -1):
            move(parameters, directions, sign * STEP)
            with torch.no_grad():
                values.append(float(value()))
            move(parameters, directions, -sign * STEP)
        assert abs(analytic) > 1e-4
        assert (values[0] - values[1]) / (2 * STEP) == pytest.approx(analytic, rel=1e-4, abs=1e-7)


STEP = 1e-6


def move(parameters: list[torch.nn.Parameter], directions: list[Tensor], step: float) -> None:
    with torch.no_grad():
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter += step * direction


@pytest.mark.parametrize('count', [0, 3])
def test_gradient_of_the_track_logits_is_exact(count: int) -> None:
    """Gradcheck of L_track as a function of both its inputs: embeddings and memory."""
    generator = torch.Generator().manual_seed(5)
    embeddings, memory = (
        torch.randn(n, 5, generator=generator, dtype=torch.float64).requires_grad_() for n in (4, count)
    )
    wanted = torch.tensor([0, min(1, count), min(2, count), min(3, count)])
    inputs = (embeddings, memory) if count else (embeddings,)

    def loss(embeddings: Tensor, memory: Tensor = memory) -> Tensor:
        return torch.nn.functional.cross_entropy(track_logits(embeddings, memory), wanted)

    assert torch.autograd.gradcheck(loss, inputs)


def test_padding_gets_no_proposals_and_changes_no_target() -> None:
    """An image in a larger frame of zeros: its boxes and masks are what they were, its proposals stay inside it."""
    network = small_network()
    images = torch.randn(2, 3, 64, 96)
    padded = torch.nn.functional.pad(images, (0, 32, 0, 64))
    inside: list[Tensor] = []
    propose = network.propose
    network.propose = lambda *arguments: inside.extend(propose(*arguments)) or inside  # type: ignore[method-assign]
    found = detection_losses(network, padded, PAIR, Sampling(), [(64, 96), (64, 96)])
    assert set(found) == set(LOSSES) and all(torch.isfinite(value) for value in found.values())
    boxes = torch.cat(inside)
    assert len(boxes) and float(boxes[:, 2].max()) <= 96 and float(boxes[:, 3].max()) <= 64


def test_mask_target_of_a_28_pixel_box_is_the_mask_itself() -> None:
    generator = np.random.default_rng(4)
    mask = torch.from_numpy((generator.random((64, 96)) > 0.5).astype(np.uint8))
    target = TrainingTarget(torch.tensor([[20.0, 30, 48, 58]]), torch.tensor([1]), torch.tensor([1]), mask[None])
    rois = sample_rois(torch.zeros(0, 4), target, Sampling())
    # two samples a side of a one-pixel bin lie between pixel centers: compare where the neighbors agree
    found = mask_targets(rois, target)[0]
    smooth = torch.nn.functional.avg_pool2d(mask[None].float(), 3, 1, 1)[0, 30:58, 20:48]
    sure = (smooth > 0.99) | (smooth < 0.01)
    crop = mask[30:58, 20:48].float()
    assert sure.sum() > 0
    assert torch.equal(found[sure], crop[sure])
    assert (found == crop).float().mean() > 0.9


def test_mask_target_scales_with_the_masks_resolution() -> None:
    full = rectangles([[20, 20, 60, 40]], [1])
    doubled = TrainingTarget(
        full.boxes, full.labels, full.object_ids, full.masks.repeat_interleave(2, 1).repeat_interleave(2, 2),
        mask_scale=(2.0, 2.0),
    )  # fmt: skip
    rois = sample_rois(torch.tensor([[15.0, 15, 62, 44]]), full, Sampling())
    assert torch.equal(mask_targets(rois, full), mask_targets(rois, doubled))


def test_sampled_rois_are_matched_as_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(5)
    corners = torch.rand(200, 2, generator=generator) * 50
    proposals = torch.cat((corners, corners + 5 + 30 * torch.rand(200, 2, generator=generator)), 1)
    target = PAIR[0]
    rois = sample_rois(proposals, target, Sampling())
    assert len(rois.labels) == 64
    assert 0 < (rois.labels > 0).sum() <= 16
    overlaps = box_iou(rois.boxes, target.boxes)
    for label, matched, overlap in zip(rois.labels.tolist(), rois.matched.tolist(), overlaps, strict=True):
        best = int(overlap.argmax())
        assert (label > 0) == bool(overlap[best] >= 0.5)
        if label > 0:
            assert (matched, label) == (best, int(target.labels[best]))


def test_ignored_pixels_are_not_background() -> None:
    ignored = torch.zeros(64, 96, dtype=torch.uint8)
    ignored[:, 48:] = 1
    target = TrainingTarget(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 64, 96, dtype=torch.uint8), ignored,
    )  # fmt: skip
    generator = np.random.default_rng(6)
    corners = generator.integers(0, 30, (50, 2))
    boxes = np.concatenate((corners, corners + generator.integers(1, 60, (50, 2))), 1)
    share = _ignored_share(torch.from_numpy(boxes).float(), target)
    for (x0, y0, x1, y1), value in zip(boxes.tolist(), share.tolist(), strict=True):
        assert value == pytest.approx(float(ignored[y0:y1, x0:x1].float().mean()), abs=1e-6)
    rois = sample_rois(torch.from_numpy(boxes).float(), target, Sampling())
    assert all(ignored[int(y0) : int(y1), int(x0) : int(x1)].float().mean() <= 0.5 for x0, y0, x1, y1 in rois.boxes)
