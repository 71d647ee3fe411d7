from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from vis_ros.propagation.blocks.mask_damage import damage_soft_masks
from vis_ros.propagation.rgmp import losses as rgmp_losses
from vis_ros.propagation.rgmp.config import RgmpConfig
from vis_ros.propagation.rgmp.losses import RgmpLosses
from vis_ros.propagation.rgmp.network import Rgmp


def _losses() -> RgmpLosses:
    torch.manual_seed(0)
    return RgmpLosses(Rgmp(RgmpConfig('light', decoder_channels=16)))


def _clips(batch: int = 2, frames: int = 4, size: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor]:
    """Noise with a moving object 1 and a still object 2."""
    images = torch.randn(batch, frames, 3, *size)
    labels = torch.zeros(batch, frames, *size, dtype=torch.int64)
    labels[..., 40:60, 60:90] = 2
    for t in range(frames):
        labels[:, t, 8:40, 8 + 4 * t : 48 + 4 * t] = 1
    return images, labels


class _Recorded:
    """Records the arguments of Rgmp.segment with their gradients."""

    def __init__(self, losses: RgmpLosses, monkeypatch: pytest.MonkeyPatch) -> None:
        self.previous: list[Tensor] = []
        self.logits: list[list[Tensor]] = []
        segment = losses.network.segment

        def recorded(image: Tensor, previous: Tensor, reference: Tensor) -> list[Tensor]:
            if previous.requires_grad:
                previous.retain_grad()
            self.previous.append(previous)
            self.logits.append(segment(image, previous, reference))
            return self.logits[-1]

        monkeypatch.setattr(losses.network, 'segment', recorded)


def test_gradients_reach_every_part() -> None:
    losses = _losses()
    found = losses(*_clips(), progress=0.0)
    assert set(found) == {'mask', 'auxiliary'}
    sum(found.values()).backward()
    for name, parameter in losses.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_gradients_flow_back_through_time(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    recorded = _Recorded(losses, monkeypatch)
    images, labels = _clips()
    labels[:, 1:3] = 255  # only frame 3 bears a loss
    sum(losses(images, labels, progress=0.0).values()).backward()
    first, second, third = recorded.previous
    assert not first.requires_grad
    assert third.grad.abs().max() > 0  # the prediction in frame 2
    assert second.grad.abs().max() > 0  # and that in frame 1


def test_the_previous_mask_is_the_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    recorded = _Recorded(losses, monkeypatch)
    losses(*_clips(), progress=0.0)
    for logits, previous in zip(recorded.logits, recorded.previous[1:], strict=False):
        fine = torch.nn.functional.interpolate(logits[0], (64, 96), mode='bilinear')
        torch.testing.assert_close(previous, fine.softmax(1)[:, 1:])


def test_the_losses_are_cross_entropies(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    recorded = _Recorded(losses, monkeypatch)
    images, labels = _clips(batch=1, frames=3)
    labels[labels == 2] = 0
    labels[:, 1, :5] = 255
    found = losses(images, labels, progress=0.0)
    main, auxiliary = [], []
    for t, logits in enumerate(recorded.logits, start=1):
        truth, known = labels[0, t].numpy() == 1, labels[0, t].numpy() != 255
        for level, each in enumerate(logits):
            factor = 1 if level == 0 else 4 * 2**level
            if level == 0:
                each = torch.nn.functional.interpolate(each, (64, 96), mode='bilinear')
            p = each.double().softmax(1)[0, 1].detach().numpy()
            total, count = 0.0, 0.0
            for y in range(64):
                for x in range(96):
                    if known[y, x]:
                        q = p[y // factor, x // factor]
                        total -= math.log(q if truth[y, x] else 1 - q)
                        count += 1
            (main if level == 0 else auxiliary).append(total / count)
    assert found['mask'].item() == pytest.approx(np.mean(main), rel=1e-4)
    assert found['auxiliary'].item() == pytest.approx(0.2 * np.mean(auxiliary), rel=1e-4)


def test_unknown_pixels_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    recorded = _Recorded(losses, monkeypatch)
    images, labels = _clips(batch=1)
    labels[labels == 2] = 1
    labels[:, :, :32] = 255
    found = losses(images, labels, progress=1.0)
    auxiliary = recorded.logits[-1][1:]  # cells of which each sees only pixels of its own
    for each in auxiliary:
        each.retain_grad()
    sum(found.values()).backward()
    for each in auxiliary:
        rows = each.shape[2] // 2
        assert each.grad[:, :, :rows].abs().max() == 0
        assert each.grad[:, :, rows:].abs().max() > 0


def test_only_the_hardest_pixels_count_late_in_the_run() -> None:
    logits = torch.tensor([[[[0.0] * 8], [[3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0]]]])
    truth, known = torch.zeros(1, 1, 1, 8), torch.ones(1, 1, 1, 8, dtype=torch.bool)
    known[..., 0] = False
    each = [math.log(1 + math.exp(x)) for x in (2, 1, 0, -1, -2, -3, -4)]
    all_pixels = rgmp_losses._cross_entropy(logits, truth, known, 1.0).item()
    assert all_pixels == pytest.approx(np.mean(each), rel=1e-5)
    hardest = rgmp_losses._cross_entropy(logits, truth, known, 0.25).item()
    assert hardest == pytest.approx(np.mean(each[:2]), rel=1e-5)  # a quarter of 7, rounded up
    shares = [rgmp_losses._share_of_pixels(progress) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert shares == pytest.approx([1, 1, 0.625, 0.25, 0.25])


def test_a_batch_without_objects_has_no_loss() -> None:
    losses = _losses()
    images, labels = _clips()
    labels[:, 0] = 255
    found = losses(images, labels, progress=0.0)
    assert [value.item() for value in found.values()] == [0.0, 0.0]
    sum(found.values()).backward()


def test_a_clip_without_an_object_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    recorded = _Recorded(losses, monkeypatch)
    images, labels = _clips()
    labels[0, 0] = 0
    losses(images, labels, progress=0.0)
    assert [len(each) for each in recorded.previous] == [1, 1, 1]


def test_an_object_may_leave() -> None:
    images, labels = _clips()
    labels[:, 1:] = 0
    found = _losses()(images, labels, progress=1.0)
    assert all(value.isfinite() for value in found.values())


def test_each_object_and_sometimes_their_union_is_chosen() -> None:
    torch.manual_seed(0)
    labels = _clips(batch=1)[1].repeat(300, 1, 1, 1)
    labels[:, :, 0, 0] = 255
    clips, truth = rgmp_losses._choose_objects(labels)
    assert clips == list(range(300))
    one, two = (labels[0] == 1)[:, None].float(), (labels[0] == 2)[:, None].float()
    counts = [sum(torch.equal(each, mask) for each in truth) for mask in (one, two, one + two)]
    assert sum(counts) == 300
    assert counts[2] / 300 == pytest.approx(0.15, abs=0.06)
    assert counts[0] / 300 == pytest.approx(0.425, abs=0.09)


def test_some_previous_masks_are_empty() -> None:
    torch.manual_seed(0)
    previous = rgmp_losses._first_previous(torch.ones(400, 1, 32, 32))
    empty = (previous.sum((1, 2, 3)) == 0).float().mean().item()
    assert empty == pytest.approx(0.12, abs=0.05)


def test_damage_moves_resizes_and_blurs(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((64, 96), np.float32)
    mask[20:44, 30:70] = 1
    normals = iter((torch.tensor([[1.0, -0.5]]), torch.tensor([[1.0]])))
    monkeypatch.setattr(torch, 'randn_like', lambda _: next(normals))
    damaged = damage_soft_masks(torch.from_numpy(mask)[None, None])[0, 0].numpy()
    side, scale = math.sqrt(24 * 40), math.exp(0.1)
    ys, xs = np.mgrid[:64, :96].astype(float)
    center_y, center_x = 31.5, 49.5  # of the pixel centers
    from_y = (ys - center_y + 0.5 * 0.1 * side) / scale + center_y
    from_x = (xs - center_x - 0.1 * side) / scale + center_x
    moved = ndimage.map_coordinates(mask, [from_y, from_x], order=1)
    cells = moved.reshape(16, 4, 24, 4).mean((1, 3))
    positions = [(np.arange(n) + 0.5) / 4 - 0.5 for n in (64, 96)]
    expected = ndimage.map_coordinates(cells, np.meshgrid(*positions, indexing='ij'), order=1, mode='nearest')
    np.testing.assert_allclose(damaged, expected, atol=1e-4)


def test_damage_leaves_an_empty_mask_empty_and_keeps_the_range() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(50, 1, 32, 64)
    masks[10:, :, 5:20, 10:40] = 1
    damaged = damage_soft_masks(masks)
    assert damaged[:10].abs().max() == 0
    assert damaged.min() >= 0
    assert damaged.max() <= 1 + 1e-6
    areas = damaged[10:].sum((1, 2, 3)) / (15 * 30)
    assert areas.mean().item() == pytest.approx(1, abs=0.15)
    assert areas.std() > 0.05
