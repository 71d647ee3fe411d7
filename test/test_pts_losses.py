from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vis_ros.propagation.blocks.mask_heat_map import robust_moments
from vis_ros.propagation.pts import losses as pts_losses
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.losses import PtsLosses
from vis_ros.propagation.pts.network import Pts

SIDE = 64


def _losses() -> PtsLosses:
    torch.manual_seed(0)
    return PtsLosses(Pts(PtsConfig('light', decoder_channels=16, crop_size=SIDE)))


def _clips(batch: int = 2, frames: int = 4, size: tuple[int, int] = (96, 128)) -> tuple[Tensor, Tensor]:
    """Noise with a moving object 1; the first channel is 3 on it and -3 elsewhere."""
    images = torch.randn(batch, frames, 3, *size) * 0.1
    labels = torch.zeros(batch, frames, *size, dtype=torch.int64)
    for t in range(frames):
        labels[:, t, 20:60, 20 + 6 * t : 60 + 6 * t] = 1
    images[:, :, 0] = torch.where(labels == 1, 3.0, -3.0)
    return images, labels


class _Recorded:
    """Records the arguments of RGSN and its logits."""

    def __init__(self, losses: PtsLosses, monkeypatch: pytest.MonkeyPatch) -> None:
        rgsn = losses.network.rgsn
        forward, reference = rgsn.forward, rgsn.reference

        def recorded_forward(image: Tensor, heat_map: Tensor, features: Tensor) -> Tensor:
            self.image, self.heat_map, self.features = image, heat_map, features
            self.logits = forward(image, heat_map, features)
            return self.logits

        def recorded_reference(image: Tensor, mask: Tensor) -> Tensor:
            self.reference_image, self.reference_mask = image, mask
            return reference(image, mask)

        monkeypatch.setattr(rgsn, 'forward', recorded_forward)
        monkeypatch.setattr(rgsn, 'reference', recorded_reference)


def test_gradients_reach_every_trained_part() -> None:
    losses = _losses()
    losses(*_clips(), progress=0.0)['mask'].backward()
    for name, parameter in losses.network.rgsn.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert all(each.grad is None for each in losses.network.otn.parameters())


def test_a_first_mask_is_undecided() -> None:
    assert _losses()(*_clips(), progress=0.0)['mask'].item() == pytest.approx(np.log(2), abs=0.1)


def test_the_reference_is_the_object_in_one_and_a_half_times_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    seen = _Recorded(losses, monkeypatch)
    losses(*_clips(), progress=0.0)
    mask = seen.reference_mask[:, 0]
    # The box is 40 pixels wide, the crop 60, inside the image: two thirds of the crop, in its middle.
    expected = torch.zeros(SIDE, SIDE)
    expected[11:53, 11:53] = 1
    assert (mask != expected).float().mean() < 0.02
    assert ((seen.reference_image[:, 0] > 0) == (mask > 0.5)).float().mean() > 0.98


def test_crops_hold_the_object_with_context_and_the_mask_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pts_losses, '_LOST', 0.0)
    losses = _losses()
    seen = _Recorded(losses, monkeypatch)
    images, labels = _clips(batch=8)
    losses(images, labels, progress=0.0)
    assert len(seen.image) == 8 * 3
    shown = seen.image[:, 0] > 0
    # One of 1 / (1.5 to 2)^2 of the crop, as far as it is in there, a Laplace-shaken box aside.
    assert 0.15 < shown.float().mean((1, 2)).median() < 0.45
    center, _ = robust_moments(shown)
    found = seen.heat_map[:, 0].flatten(1).argmax(1)
    peak = torch.stack((found % SIDE, found // SIDE), 1)
    behind = (center - peak)[:, 0].unflatten(0, (8, 3)).median(0).values
    assert abs(behind[0]) < 4  # of frame 1 the mask is its own
    assert (behind[1:] > 2).all()  # of the others it lies 6 pixels of the image behind


def test_the_loss_is_the_cross_entropy_of_the_object_in_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    seen = _Recorded(losses, monkeypatch)
    images, labels = _clips()
    loss = losses(images, labels, progress=0.0)['mask']
    expected = functional.cross_entropy(seen.logits, (seen.image[:, 0] >= 0).long())
    assert loss.item() == pytest.approx(expected.item(), abs=2e-3)
    hardest = losses(images, labels, progress=1.0)['mask']
    values = functional.cross_entropy(seen.logits, (seen.image[:, 0] >= 0).long(), reduction='none').flatten(1)
    expected = values.topk(values.shape[1] // 2).values.mean()
    assert hardest.item() == pytest.approx(expected.item(), abs=5e-3)


def test_some_previous_masks_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    seen = _Recorded(losses, monkeypatch)
    monkeypatch.setattr(pts_losses, '_LOST', 0.5)
    losses(*_clips(batch=16), progress=0.0)
    lost = ~seen.heat_map.flatten(1).any(1)
    assert 12 <= lost.sum() <= 36


def test_unknown_pixels_do_not_count() -> None:
    losses = _losses()
    images, labels = _clips()
    labels[:, :, :, 64:] = 255

    def loss(images: Tensor) -> Tensor:
        torch.manual_seed(1)
        images.requires_grad_(True)
        return losses(images, labels, progress=0.0)['mask']

    known = loss(images.clone())
    labels[:, 1:] = 255
    assert known > 0
    assert loss(images.clone()) == 0


def test_clips_without_an_object_are_left_out_and_cost_nothing() -> None:
    losses = _losses()
    images, labels = _clips()
    labels[1, 0] = 0
    assert losses(images, labels, progress=0.0)['mask'] > 0
    labels[0, 0] = 0
    labels[0, 0, :7, :7] = 1  # 49 pixels
    nothing = losses(images, labels, progress=0.0)['mask']
    assert nothing == 0
    nothing.backward()
    labels[0, 0, 7, 0] = 1
    assert losses(images, labels, progress=0.0)['mask'] > 0


def test_an_object_that_is_gone_has_an_empty_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = _losses()
    seen = _Recorded(losses, monkeypatch)
    images, labels = _clips()
    labels[:, 1:] = 0
    loss = losses(images, labels, progress=0.0)['mask']
    assert not seen.heat_map.any()
    assert loss.item() == pytest.approx(functional.cross_entropy(seen.logits, torch.zeros(6, SIDE, SIDE).long()).item())


def test_losses_fall_in_training() -> None:
    losses = _losses()
    optimizer = torch.optim.Adam(losses.network.rgsn.parameters(), 1e-3)
    images, labels = _clips(batch=1, frames=3)
    values = []
    for _ in range(20):
        loss = losses(images, labels, progress=0.0)['mask']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert np.mean(values[-4:]) < 0.6 * values[0]
