"""The static form of the network compared with the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vis_ros.export import static_detector
from vis_ros.export.static_detector import StaticDetector
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig

SMALL: dict[str, Any] = {
    'name': 'small',
    'class_names': ('a', 'b', 'c', 'd'),
    'backbone': 'resnet18',
    'fpn_channels': 16,
    'box_head_channels': 32,
    'mask_layers': 1,
    'mask_channels': 16,
    'embedding_size': 16,
    'proposals_before_nms': 100,
    'proposals': 60,
    'score_threshold': 0.05,
    'max_detections': 25,
    'roi_align_samples': 2,
}

KINDS: dict[str, dict[str, Any]] = {
    'demo': {
        'fpn_norm': 'group',
        'box_class_agnostic': True,
        'mask_class_agnostic': True,
        'class_agnostic_scores': True,
    },
    'dense_head': {
        'backbone': 'nanodet_plus_m',
        'fpn_channels': 96,
        'box_class_agnostic': True,
        'mask_class_agnostic': True,
        'class_agnostic_scores': True,
        'dense_classes': ('d', 'elsewhere', 'b', 'd'),
    },
    'classes': {},
    'class_agnostic_boxes': {'box_class_agnostic': True},
    'likeliest_class': {'class_agnostic_scores': True},
    'torchvision': {
        'architecture': 'mask_rcnn',
        'resize': 'float',
        'anchors_rounded': True,
        'anchor_strides_from_grid': True,
        'roi_align_aligned': False,
        'proposal_min_size': 2.0,
        'detection_min_size': 3.0,
        'delta_clip_both': False,
        'nms_in_source_pixels': False,
    },
    'legacy': {'legacy_boxes': True, 'anchors_rounded': True, 'embedding_last_relu': True},
    'resnet50': {'backbone': 'resnet50', 'fpn_channels': 24, 'rpn_layers': 2, 'class_names': tuple('abcdefghij')},
}


def network(**fields: Any) -> MaskRCNN:
    """A network with random weights that give clear decisions."""
    torch.manual_seed(3)
    built = build_network(ModelConfig(**(SMALL | fields))).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith(('cls_score.weight', 'cls_logits.weight', 'bbox_pred.weight')):
                parameter.mul_(20)
            if name.endswith('fcs.1.weight'):
                parameter.mul_(100)
        for module in built.modules():  # an untrained network without statistics grows from block to block
            if isinstance(getattr(module, 'running_var', None), Tensor):
                module.running_var.fill_(4.0)
    return built


def images(batch: int, height: int, width: int, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Images of colored blobs (B, H, W, 3), their sizes and their scales."""
    generator = torch.Generator().manual_seed(height + width + batch)
    coarse = torch.rand(batch, 3, height // 16, width // 16, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode='nearest').permute(0, 2, 3, 1).contiguous()
    sizes = torch.tensor([[height - 7.0 * i, width - 11.0 * i] for i in range(batch)])
    scales = torch.tensor([[0.5 + 0.3 * i, 0.6] for i in range(batch)])
    return (smooth if config.resize == 'float' else smooth.byte()), sizes, scales


def reference(detector: MaskRCNN, inputs: tuple[Tensor, Tensor, Tensor]) -> list[tuple[Tensor, ...]]:
    """The boxes, scores, labels, masks and embeddings of each image."""
    picture, sizes, scales = inputs
    config = detector.config
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    normalized = (picture.float().permute(0, 3, 1, 2).flip(1) - mean) / std
    whole = [(int(h), int(w)) for h, w in sizes]
    for slot, (height, width) in zip(normalized, whole, strict=True):
        slot[:, height:], slot[:, :, width:] = 0, 0
    found, masks, embeddings = detector(normalized, whole, [(float(x), float(y)) for x, y in scales])
    counts = [len(one.boxes) for one in found]
    rows = zip(found, masks.split(counts), embeddings.split(counts), strict=True)
    return [(one.boxes, one.scores, one.labels, mask, embedding) for one, mask, embedding in rows]


def run(detector: StaticDetector, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[list[tuple[Tensor, ...]], bool]:
    """Like `reference`, and whether non-maximum suppression converged."""
    config = detector.config
    threshold = torch.tensor([config.score_threshold])
    if detector.target == 'gpu':
        *rows, converged = detector(*inputs, threshold)
        used = [scores > 0 for scores in rows[1]]
        return [tuple(row[i][used[i]] for row in rows) for i in range(len(used))], bool(converged.all())
    *rows, image, converged = detector(*inputs, threshold, torch.tensor([config.max_detections]))
    assert image.tolist() == sorted(image.tolist())
    return [tuple(row[image == i] for row in rows) for i in range(len(inputs[0]))], bool(converged)


def assert_same(wanted: list[tuple[Tensor, ...]], got: list[tuple[Tensor, ...]]) -> None:
    """Assert the same objects. Two with the same score up to rounding may be swapped."""
    for (boxes, scores, labels, masks, embeddings), others in zip(wanted, got, strict=True):
        assert len(others[0]) == len(boxes)
        assert (others[1][:-1] >= others[1][1:]).all()
        for i in range(len(boxes)):
            same = (others[0] - boxes[i]).abs().amax(1) + 1000 * (others[2] != labels[i])
            k = int(same.argmin())
            assert float(same[k]) < 0.02
            assert float(others[1][k]) == pytest.approx(float(scores[i]), abs=1e-4)
            assert torch.allclose(others[3][k], masks[i], atol=1e-3)
            assert torch.allclose(others[4][k], embeddings[i], atol=1e-3 * float(embeddings.abs().max()))


@pytest.mark.parametrize('target', ['cpu', 'gpu'])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('batch', 'height', 'width'), [(1, 160, 256), (3, 192, 96)])
def test_it_gives_the_same_detections_as_the_network(
    target: Any, kind: str, batch: int, height: int, width: int
) -> None:
    built = network(**KINDS[kind])
    inputs = images(batch, height, width, built.config)
    wanted = reference(built, inputs)
    got, converged = run(StaticDetector(built, target), inputs)
    assert converged
    assert max(len(one[0]) for one in wanted) >= 5
    assert_same(wanted, got)


@pytest.mark.parametrize(('height', 'width'), [(32, 32), (64, 352), (288, 64), (224, 224)])
def test_small_and_large_sizes(height: int, width: int) -> None:
    """Including images with fewer anchors on every level than proposals are requested."""
    built = network(**KINDS['classes'])
    inputs = images(2, height, width, built.config)
    for target in ('cpu', 'gpu'):
        got, converged = run(StaticDetector(built, target), inputs)  # type: ignore[arg-type]
        assert converged
        assert_same(reference(built, inputs), got)


def test_adaptive_sampling_of_roi_align() -> None:
    built = network(roi_align_samples=0)
    inputs = images(1, 160, 256, built.config)
    got, _ = run(StaticDetector(built, 'cpu'), inputs)
    assert_same(reference(built, inputs), got)


def test_pixels_outside_an_image_are_ignored() -> None:
    built = network()
    picture, sizes, scales = images(2, 96, 160, built.config)
    other = picture.clone()
    other[1, 89:], other[1, :, 149:] = 255, 7
    assert not torch.equal(other, picture)
    detector = StaticDetector(built, 'cpu')
    wanted, _ = run(detector, (picture, sizes, scales))
    got, _ = run(detector, (other, sizes, scales))
    for one, another in zip(wanted, got, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, another, strict=True))


def test_threshold_and_maximum_detections_are_inputs() -> None:
    built = network()
    picture, sizes, scales = images(1, 160, 256, built.config)
    detector = StaticDetector(built, 'cpu')

    def scores(threshold: float, number: int) -> list[float]:
        return detector(picture, sizes, scales, torch.tensor([threshold]), torch.tensor([number]))[1].tolist()

    every = scores(0.0, 1000)
    assert len(every) > 20
    assert scores(0.0, 7) == every[:7]
    assert scores(every[4], 1000) == every[:4]
    assert scores(1.0, 1000) == []


@pytest.mark.parametrize(
    ('change', 'converged'),
    [
        (lambda patch: None, True),
        (lambda patch: patch.setattr(static_detector, 'CANDIDATES', 10), False),
    ],
)
def test_leaving_out_candidates_is_reported(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], converged: bool
) -> None:
    change(monkeypatch)
    built = network()
    inputs = images(1, 160, 256, built.config)
    for target in ('cpu', 'gpu'):
        assert run(StaticDetector(built, target), inputs)[1] is converged  # type: ignore[arg-type]


def test_boxes_stay_in_fp32_while_layers_run_in_fp16() -> None:
    built = network(**KINDS['demo'])
    inputs = images(1, 160, 256, built.config)
    wanted = reference(built, inputs)[0]
    got, converged = run(StaticDetector(built, 'gpu', torch.float16), inputs)
    assert converged
    distance = torch.cdist(wanted[0], got[0][0], p=float('inf')).amin(1)
    assert (distance < 1).float().mean() >= 0.8
    assert not torch.equal(got[0][0], got[0][0].half().float())
