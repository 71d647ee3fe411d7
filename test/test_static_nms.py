"""Suppression by fixed-point iteration compared with greedy suppression, in two independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import nms

from vis_ros.export.static_nms import greedy_nms
from vis_ros.networks.anchors import pairwise_iou

COUNT = 24
ROUNDS = 16
CASES = 2000


def sparse(generator: np.random.Generator) -> np.ndarray:
    corner = generator.uniform(0, 60, (CASES, COUNT, 2))
    return np.concatenate((corner, corner + generator.uniform(0, 40, (CASES, COUNT, 2))), 2)


def tied(generator: np.random.Generator) -> np.ndarray:
    """Small integers: equal boxes, overlaps exactly at the threshold, boxes without area."""
    corner = generator.integers(0, 4, (CASES, COUNT, 2))
    return np.concatenate((corner, corner + generator.integers(0, 5, (CASES, COUNT, 2))), 2)


def chained(generator: np.random.Generator) -> np.ndarray:
    """Each box overlaps the next ones in a row; some are shuffled."""
    step = generator.uniform(0.5, 5, (CASES, 1))
    x = np.arange(COUNT) * step + generator.uniform(0, 0.1, (CASES, COUNT))
    return np.stack((x, np.zeros_like(x), x + 10, np.full_like(x, 10)), 2)


def extreme(generator: np.random.Generator) -> np.ndarray:
    """Boxes of 1e-6 to 1e15 pixels."""
    side = 10 ** generator.uniform(-6, 15, (CASES, COUNT, 2))
    corner = side * generator.choice([0, 1e-3, 0.5], (CASES, COUNT, 1))
    return np.concatenate((corner, corner + side), 2)


def crowded(generator: np.random.Generator) -> np.ndarray:
    corner = generator.normal(0, 4, (CASES, COUNT, 2))
    return np.concatenate((corner, corner + generator.normal(30, 3, (CASES, COUNT, 2)).clip(0)), 2)


def own_iou(boxes: Tensor) -> Tensor:
    return pairwise_iou(boxes, boxes)


def greedy(boxes: np.ndarray, real: np.ndarray, threshold: float) -> np.ndarray:
    """The textbook algorithm: keep the best box, remove the boxes that overlap it, continue. boxes (K, 4) float32."""
    alive, keep = real.copy(), np.zeros(len(boxes), bool)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(len(boxes)):
        if alive[i]:
            keep[i] = True
            sides = np.minimum(boxes[i, 2:], boxes[:, 2:]) - np.maximum(boxes[i, :2], boxes[:, :2])
            shared = sides.clip(0).prod(1)
            with np.errstate(invalid='ignore'):
                alive &= ~(shared / (area[i] + area - shared) > threshold)
    return keep


@pytest.mark.parametrize('make', [sparse, tied, chained, extreme, crowded])
def test_it_equals_greedy_suppression(make) -> None:
    """2,000 cases of each of five kinds."""
    generator = np.random.default_rng(7)
    boxes = make(generator).astype(np.float32)
    real = generator.random((CASES, COUNT)) < 0.9
    threshold = 0.5
    keep, converged = greedy_nms(own_iou(torch.from_numpy(boxes)) > threshold, torch.from_numpy(real), COUNT + 1)
    assert converged.all()
    scores = torch.arange(COUNT, 0, -1).float()
    for i in range(CASES):
        assert keep[i].tolist() == greedy(boxes[i], real[i], threshold).tolist()
        places = np.flatnonzero(real[i])
        chosen = nms(torch.from_numpy(boxes[i][places]), scores[: len(places)], threshold)
        assert places[chosen.numpy()].tolist() == keep[i].nonzero()[:, 0].tolist()


def chain(length: int) -> Tensor:
    """Boxes that each overlap only the next one, by 2/3."""
    x = torch.arange(length) * 2.0
    return torch.stack((x, torch.zeros(length), x + 10, torch.full((length,), 10.0)), 1)


def test_a_chain_that_is_longer_than_the_rounds_is_reported() -> None:
    overlapping = own_iou(chain(2 * ROUNDS)) > 0.6
    real = torch.ones(2 * ROUNDS, dtype=torch.bool)
    keep, converged = greedy_nms(overlapping, real, ROUNDS)
    assert not converged
    keep, converged = greedy_nms(overlapping, real, 2 * ROUNDS + 1)
    assert converged
    assert keep.tolist() == [i % 2 == 0 for i in range(2 * ROUNDS)]


def test_suppressed_boxes_do_not_suppress_others() -> None:
    keep, converged = greedy_nms(own_iou(chain(3)) > 0.6, torch.ones(3, dtype=torch.bool), ROUNDS)
    assert converged
    assert keep.tolist() == [True, False, True]


def test_each_row_of_a_batch_converges_separately() -> None:
    boxes = torch.stack((chain(2 * ROUNDS), chain(2 * ROUNDS) * 100))
    boxes[1, :, 2:] = boxes[1, :, :2] + 1
    _, converged = greedy_nms(own_iou(boxes) > 0.6, torch.ones(2, 2 * ROUNDS, dtype=torch.bool), ROUNDS)
    assert converged.tolist() == [False, True]
