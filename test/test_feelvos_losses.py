from __future__ import annotations

import numpy as np
import pytest
import torch

from vis_ros.propagation.blocks.bootstrapped_loss import bootstrapped_cross_entropy
from vis_ros.propagation.blocks.mask_damage import damage_binary_masks
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.feelvos.losses import (
    FeelvosLosses,
    hardest_share,
    object_masks,
)
from vis_ros.propagation.feelvos.network import Feelvos


@pytest.fixture(scope='module')
def losses() -> FeelvosLosses:
    torch.manual_seed(0)
    return FeelvosLosses(Feelvos(FeelvosConfig('tiny', head_channels=16)).train())


def _clip(frames: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clips (2, T, ...) with one and two objects that stand out in color and move."""
    images = torch.randn(2, frames, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 0.1
    labels = torch.zeros(2, frames, 64, 96, dtype=torch.int64)
    for t in range(frames):
        labels[:, t, 16:40, 8 + 4 * t : 40 + 4 * t] = 1
        labels[1, t, 32:60, 56:88] = 2
    for number, color in ((1, (1.0, -1.0, 0.0)), (2, (-1.0, 1.0, 1.0))):
        images += (labels == number)[:, :, None] * torch.tensor(color)[:, None, None]
    return images, labels


def test_gradients_reach_every_part(losses: FeelvosLosses) -> None:
    images, labels = _clip()
    loss = losses(images, labels, 0.0)['mask']
    losses.zero_grad()
    loss.backward()
    assert torch.isfinite(loss)
    unreached = [name for name, each in losses.network.named_parameters() if each.grad is None or not each.grad.any()]
    assert set(unreached) <= {'head.logit.bias'}  # a softmax over the objects does not change with it


@pytest.mark.parametrize('frames', [3, 5])
@pytest.mark.parametrize('progress', [0.0, 0.4, 1.0])
def test_losses_are_finite_for_any_clip_and_progress(losses: FeelvosLosses, frames: int, progress: float) -> None:
    loss = losses(*_clip(frames), progress)['mask']
    assert loss.ndim == 0
    assert 0 < loss.item() < 50


def test_a_few_steps_learn_one_clip() -> None:
    torch.manual_seed(0)
    learning = FeelvosLosses(Feelvos(FeelvosConfig('tiny', head_channels=16)).train())
    optimizer = torch.optim.AdamW(learning.parameters(), 1e-3)
    images, labels = (each[1:] for each in _clip())
    values = []
    for _ in range(6):
        torch.manual_seed(1)  # the same damage each time
        loss = learning(images, labels, 0.0)['mask']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert min(values[-2:]) < 0.7 * values[0]


def test_a_batch_without_objects_gives_zero_and_can_be_trained_on(losses: FeelvosLosses) -> None:
    images, labels = _clip()
    labels[:, 0] = 255
    loss = losses(images, labels, 0.2)['mask']
    loss.backward()
    assert loss.item() == 0
    assert all(each.grad is not None for each in losses.network.parameters())


def test_unknown_pixels_do_not_count() -> None:
    torch.manual_seed(3)
    logits, truth = torch.randn(2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[0] = True
    known = torch.rand(8, 8) < 0.5
    changed = torch.where(known, logits, torch.randn(2, 8, 8))
    assert bootstrapped_cross_entropy(logits, truth, known, 0.7) == bootstrapped_cross_entropy(
        changed, truth, known, 0.7
    )
    assert bootstrapped_cross_entropy(logits, truth, torch.zeros_like(known), 0.7) == 0


def test_only_the_hardest_pixels_count() -> None:
    logits = torch.randn(3, 10, 20, generator=torch.Generator().manual_seed(4))
    labels = torch.randint(0, 3, (10, 20), generator=torch.Generator().manual_seed(5))
    truth = labels[None] == torch.arange(3)[:, None, None]
    scores = logits.double().numpy()
    chosen = np.take_along_axis(scores, labels.numpy()[None], 0)[0]
    entropy = np.sort((np.log(np.exp(scores).sum(0)) - chosen).ravel())
    known = torch.ones(10, 20, dtype=torch.bool)
    assert float(bootstrapped_cross_entropy(logits, truth, known, 1.0)) == pytest.approx(entropy.mean(), rel=1e-5)
    assert float(bootstrapped_cross_entropy(logits, truth, known, 0.15)) == pytest.approx(
        entropy[-30:].mean(), rel=1e-5
    )


def test_the_share_falls_to_15_percent_in_the_first_half() -> None:
    assert [hardest_share(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1.0, 0.575, 0.15, 0.15])


def test_objects_that_are_not_in_the_reference_frame_are_background() -> None:
    labels = torch.tensor([[[0, 2, 2, 255]], [[1, 2, 0, 255]]])
    masks = object_masks(labels)
    assert masks.shape == (2, 2, 1, 4)
    assert masks[0, :, 0].tolist() == [[True, False, False, False], [False, True, True, False]]
    assert masks[1, :, 0].tolist() == [[True, False, True, False], [False, True, False, False]]


def test_damage_is_small_unless_a_mask_is_lost() -> None:
    torch.manual_seed(6)
    masks = torch.zeros(60, 80, 100, dtype=torch.bool)
    masks[:, 20:60, 30:70] = True  # 40 x 40
    damaged = damage_binary_masks(masks)
    sizes = damaged.flatten(1).sum(1)
    lost = sizes == 0
    assert 0 < int(lost.sum()) < 20
    overlap = (masks & damaged).flatten(1).sum(1) / (masks | damaged).flatten(1).sum(1)
    kept = overlap[~lost]
    assert float(kept.min()) > 0.65
    assert float(kept.max()) < 1
    ys, xs = (torch.arange(n).float() for n in (80, 100))
    for each in damaged[~lost].float():
        center_y, center_x = (each.sum(1) * ys).sum() / each.sum(), (each.sum(0) * xs).sum() / each.sum()
        assert abs(float(center_y) - 39.5) < 40 * 0.05 + 0.7
        assert abs(float(center_x) - 49.5) < 40 * 0.05 + 0.7


def test_damage_of_empty_masks_is_empty() -> None:
    assert damage_binary_masks(torch.zeros(0, 8, 8, dtype=torch.bool)).shape == (0, 8, 8)
    assert not damage_binary_masks(torch.zeros(3, 32, 32, dtype=torch.bool)).any()
