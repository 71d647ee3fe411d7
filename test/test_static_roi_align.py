"""RoIAlign on the atlas of levels, compared with torchvision's RoIAlign on each level."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from vis_ros.export.static_roi_align import StaticRoiAlign
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_config import DEMO

HEIGHT, WIDTH = 672, 960
IMAGES, BOXES = 2, 250


def pyramid() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(IMAGES, 3, HEIGHT // s, WIDTH // s, generator=generator) for s in (4, 8, 16, 32)]


def boxes() -> Tensor:
    """Boxes (IMAGES, BOXES, 4) of all sizes. A third of them touch a border, where many are narrow."""
    generator = torch.Generator().manual_seed(2)
    limits = torch.tensor([WIDTH, HEIGHT] * 2)
    center = torch.rand(IMAGES, BOXES, 2, generator=generator) * limits[:2]
    sides = torch.exp(torch.rand(IMAGES, BOXES, 2, generator=generator) ** 0.7 * 7)
    found = torch.cat((center - sides / 2, center + sides / 2), 2)
    found[:, ::3] = found[:, ::3] + (limits - found[:, ::3])[..., [2, 3, 2, 3]] * 0.999
    found = found.clamp(min=0).minimum(limits)
    found[:, 1] = torch.tensor([WIDTH - 0.5, HEIGHT - 0.25, WIDTH, HEIGHT])
    return found


@pytest.mark.parametrize(
    ('target', 'fields'),
    [
        ('cpu', {'roi_align_samples': 2}),
        ('cpu', {'roi_align_samples': 0}),
        ('cpu', {'roi_align_samples': 2, 'roi_align_aligned': False}),
        ('cpu', {'roi_align_samples': 2, 'legacy_boxes': True}),
        ('gpu', {'roi_align_samples': 2}),
        ('gpu', {'roi_align_samples': 3}),
        ('gpu', {'roi_align_samples': 2, 'roi_align_aligned': False}),
        ('gpu', {'roi_align_samples': 2, 'legacy_boxes': True}),
    ],
)
@pytest.mark.parametrize('size', [7, 14])
def test_it_equals_torchvision_on_each_level(target: Any, fields: dict[str, Any], size: int) -> None:
    config = DEMO.with_fields(fpn_channels=3, **fields)
    features, found = pyramid(), boxes()
    if config.legacy_boxes:  # their last pixel is inside
        found = found.minimum(torch.tensor([WIDTH - 1, HEIGHT - 1] * 2))
    reference: Any = SimpleNamespace(config=config)
    wanted = MaskRCNN.roi_align(reference, features, list(found), size)
    image = torch.arange(IMAGES).repeat_interleave(BOXES)
    got = StaticRoiAlign(config, target, features)(found.reshape(-1, 4), image, size)
    assert wanted.abs().max() > 1
    assert torch.allclose(got, wanted, atol=2e-3)
    assert (got - wanted).abs().mean() < 1e-5


def test_every_level_is_used() -> None:
    sides = (boxes()[..., 2:] - boxes()[..., :2]).prod(2).sqrt().flatten()
    level = torch.log2(sides.clamp(min=1) / 224).floor().clamp(-2, 1)
    assert all((level == number).sum() >= 10 for number in range(-2, 2))


def test_a_box_enlarged_to_one_cell_reads_nothing_beyond_the_border() -> None:
    """Without the half-pixel correction, samples that RoIAlign counts as zero are counted as zero here too."""
    config = DEMO.with_fields(fpn_channels=3, roi_align_samples=2, roi_align_aligned=False)
    features = [torch.ones_like(level) for level in pyramid()]
    corner = torch.tensor([[WIDTH - 0.5, HEIGHT - 0.25, WIDTH, HEIGHT]])
    for target in ('cpu', 'gpu'):
        got = StaticRoiAlign(config, target, [level[:1] for level in features])(corner, torch.zeros(1).long(), 7)
        assert 0 < float(got.mean()) < 0.1
