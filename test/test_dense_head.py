"""DenseHead against loops over cells and boxes in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vis_ros.networks.dense_head import CELLS, DenseCells, DenseHead
from vis_ros.networks.mask_rcnn import RawDetections
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import DEMO
from vis_ros.networks.model_file import load_model, save_model

SMALL = DEMO.with_fields(class_names=('cat', 'dog', 'thing'), dense_classes=('dog', 'bus', 'cat', 'dog'))
STRIDES = (8, 16, 32, 64)


def head_with_random_weights() -> DenseHead:
    torch.manual_seed(5)
    head = DenseHead(SMALL).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return head


def pyramid(batch: int, height: int, width: int) -> list[Tensor]:
    torch.manual_seed(6)
    return [torch.randn(batch, 96, -(-height // stride), -(-width // stride)) for stride in STRIDES]


def cells_by_loops(head: DenseHead, levels: list[Tensor], image: int) -> list[tuple[list[float], list[float]]]:
    """Scores of dog, cat, dog, and the box of each cell, those with the highest score first."""
    found = []
    for level, tower, output, stride in zip(levels, head.towers, head.outputs, STRIDES, strict=True):
        logits = output(tower(level))[image].numpy().astype(np.float64)
        for y in range(logits.shape[1]):
            for x in range(logits.shape[2]):
                values = logits[:, y, x]
                scores = [1 / (1 + np.exp(-values[number])) for number in (0, 2, 3)]
                sides = []
                for side in range(4):
                    bins = np.exp(values[4 + 8 * side : 12 + 8 * side])
                    sides.append(stride * sum(n * each for n, each in enumerate(bins / bins.sum())))
                left, top, right, bottom = sides
                found.append((scores, [x * stride - left, y * stride - top, x * stride + right, y * stride + bottom]))
    return sorted(found, key=lambda cell: -max(cell[0]))


def test_cells_are_those_with_the_highest_scores() -> None:
    head, levels = head_with_random_weights(), pyramid(2, 96, 160)
    with torch.no_grad():
        cells = head(levels)
        for image in range(2):
            wanted = cells_by_loops(head, levels, image)[:CELLS]
            assert len(wanted) == CELLS == cells.scores.shape[1]
            np.testing.assert_allclose(cells.scores[image], [scores for scores, _ in wanted], atol=1e-4)
            np.testing.assert_allclose(cells.boxes[image], [box for _, box in wanted], atol=1e-2)


def test_a_small_image_has_fewer_cells() -> None:
    cells = head_with_random_weights()(pyramid(1, 32, 64))
    assert (cells.scores[0].amax(1) > 0).sum() == 32 + 8 + 2 + 1
    empty = torch.zeros(1, 1, 4)
    _, certainty = head_with_random_weights().name(empty, torch.tensor([[[0.1, 0.2, 0.3]]]), cells)
    assert certainty.isfinite().all()


def test_the_class_is_the_one_with_the_highest_sum_of_probability_and_votes() -> None:
    head = head_with_random_weights()
    generator = np.random.default_rng(8)
    corner = generator.uniform(0, 60, (3, 40, 2))
    boxes = np.concatenate((corner, corner + generator.uniform(10, 60, (3, 40, 2))), 2).astype(np.float32)
    cell_boxes = boxes[:, ::2] + generator.normal(0, 3, (3, 20, 4)).astype(np.float32)
    scores = generator.uniform(0, 0.5, (3, 20, 3)).astype(np.float32)
    probabilities = generator.dirichlet(np.full(3, 0.5), (3, 40)).astype(np.float32)
    cells = DenseCells(torch.from_numpy(scores), torch.from_numpy(cell_boxes))
    got, certainty = head.name(torch.from_numpy(boxes), torch.from_numpy(probabilities), cells)
    changed = 0
    for image in range(3):
        for row in range(40):
            weights = np.array([iou(boxes[image, row], each) ** 8 for each in cell_boxes[image]])
            first_dog, cat, second_dog = (weights @ scores[image]) / (weights.sum() + 1e-6)
            own = probabilities[image, row]
            weight = 4 * (1 - own[2])  # NanoDet-Plus does not know things
            total = [own[0] + weight * cat, own[1] + weight * max(first_dog, second_dog), own[2]]
            assert got[image, row] == np.argmax(total)
            assert certainty[image, row] == pytest.approx(min(max(total), 1), abs=1e-5)
            changed += int(np.argmax(total) != np.argmax(own))
    assert 5 < changed < 100


def iou(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(sides.clip(0).prod())
    return shared / float((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - shared)


def test_without_an_agreeing_cell_the_box_head_decides() -> None:
    head = head_with_random_weights()
    cells = DenseCells(torch.ones(1, 5, 3), torch.tensor([[[500.0, 500, 510, 510]] * 5]))
    probabilities = torch.tensor([[[0.1, 0.2, 0.3]]])
    names, certainty = head.name(torch.tensor([[[0.0, 0, 10, 10]]]), probabilities, cells)
    assert names.tolist() == [[2]] and certainty.item() == pytest.approx(0.3)


def test_detect_names_by_the_votes_and_weighs_the_scores() -> None:
    torch.manual_seed(9)
    config = SMALL.with_fields(score_threshold=0.05)
    named, plain = build_network(config).eval(), build_network(config.with_fields(dense_classes=())).eval()
    assert named.dense_head is not None and plain.dense_head is None
    plain.load_state_dict({name: each for name, each in named.state_dict().items() if 'dense_head' not in name})
    for output in named.dense_head.outputs:
        assert output.bias is not None
        torch.nn.init.constant_(output.bias[2:3], 5.0)  # every cell is sure of a cat
    images = torch.randn(1, 3, 64, 96)
    ((found,), *_), ((other,), *_) = (each(images, [(64, 96)], [(1.0, 1.0)]) for each in (named, plain))
    assert isinstance(found, RawDetections) and len(found.boxes) == len(other.boxes) > 0
    assert not torch.equal(found.labels, other.labels)
    ours = {tuple(box): score for box, score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True)}
    theirs = {tuple(box): score for box, score in zip(other.boxes.tolist(), other.scores.tolist(), strict=True)}
    both = ours.keys() & theirs.keys()
    assert both and all(ours[box] <= theirs[box] for box in both)


def test_a_detector_of_other_classes_has_no_dense_head(tmp_path: Path) -> None:
    network = build_network(SMALL.with_fields(class_names=('pallet',)))
    assert network.dense_head is None
    save_model(network, tmp_path / 'pallet.safetensors')
    assert load_model(tmp_path / 'pallet.safetensors').dense_head is None


def test_no_loss_moves_it() -> None:
    assert not any(each.requires_grad for each in head_with_random_weights().parameters())


@pytest.mark.parametrize(
    'fields', [{'backbone': 'resnet18'}, {'class_agnostic_scores': False}, {'box_class_agnostic': False}]
)
def test_a_detector_that_it_does_not_fit_has_none(fields: dict[str, Any]) -> None:
    assert build_network(SMALL).dense_head is not None
    assert build_network(SMALL.with_fields(**fields)).dense_head is None
