from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vis_ros.propagation.feelvos.matching import distance, global_matching, local_matching


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Equation 1 as in the paper."""
    return 1 - 2 / (1 + math.exp(min(float(((first - second) ** 2).sum()), 700)))


def _embedding(seed: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed)) * 1.2


def _local_brute(
    query: NDArray[np.float64], previous: NDArray[np.float64], masks: NDArray[np.bool_], window: int
) -> NDArray[np.float64]:
    height, width = query.shape[1:]
    maps = np.ones((len(masks), height, width))
    for index, mask in enumerate(masks):
        for y in range(height):
            for x in range(width):
                for v in range(max(y - window, 0), min(y + window, height - 1) + 1):
                    for u in range(max(x - window, 0), min(x + window, width - 1) + 1):
                        if mask[v, u]:
                            near = _distance(query[:, y, x], previous[:, v, u])
                            maps[index, y, x] = min(maps[index, y, x], near)
    return maps


def test_the_distance_is_that_of_equation_1() -> None:
    squared = torch.tensor([0.0, 0.3, 1.0, 5.0, 1e9])
    assert torch.allclose(distance(squared), torch.tanh(squared / 2))
    assert distance(squared)[0] == 0
    assert distance(squared)[-1] == 1
    assert float(distance(squared)[2]) == pytest.approx(1 - 2 / (1 + math.e))


def test_global_matching_is_the_minimum_over_all_pixels_of_an_object() -> None:
    query = _embedding(0, 5, 7, 9)
    references = [_embedding(1, 5, 1, 40)[:, 0].T, _embedding(2, 5, 1, 3)[:, 0].T]
    maps = global_matching(query, references)
    pixels = query.double().numpy()
    for index, reference in enumerate(references):
        for y in range(7):
            for x in range(9):
                nearest = min(_distance(pixels[:, y, x], other) for other in reference.double().numpy())
                assert float(maps[index, y, x]) == pytest.approx(nearest, abs=1e-5)


def test_global_matching_works_in_parts() -> None:
    query, reference = _embedding(0, 4, 31, 29), _embedding(1, 4, 1, 50)[:, 0].T
    exact = torch.cdist(query.double().flatten(1).T, reference.double()).amin(1).square()
    found = global_matching(query, [reference])[0].flatten()
    assert torch.allclose(found.double(), torch.tanh(exact / 2), atol=1e-5)


def test_an_object_without_pixels_is_at_distance_1() -> None:
    query = _embedding(0, 5, 6, 6)
    assert (global_matching(query, [torch.zeros(0, 5), query.flatten(1).T])[0] == 1).all()
    masks = torch.stack([torch.zeros(6, 6, dtype=torch.bool), torch.ones(6, 6, dtype=torch.bool)])
    assert (local_matching(query, query, masks, 2)[0] == 1).all()


@pytest.mark.parametrize(
    ('size', 'window'),
    [((8, 8), 2), ((9, 17), 3), ((5, 20), 1), ((18, 7), 4), ((3, 4), 6), ((16, 40), 2)],
)
def test_local_matching_is_the_minimum_over_the_window(size: tuple[int, int], window: int) -> None:
    query, previous = _embedding(3, 4, *size), _embedding(4, 4, *size)
    random = torch.rand(size, generator=torch.Generator().manual_seed(5))
    corner = torch.zeros(size, dtype=torch.bool)
    corner[0, -1] = True
    masks = torch.stack([random < 0.3, (random >= 0.3) & (random < 0.33), corner])
    found = local_matching(query, previous, masks, window).numpy()
    brute = _local_brute(query.double().numpy(), previous.double().numpy(), masks.numpy(), window)
    assert np.abs(found - brute).max() < 1e-5
    assert ((found == 1) == (brute == 1)).all()


def test_the_window_ends_exactly_k_cells_away() -> None:
    query = torch.zeros(3, 24, 24)
    masks = torch.zeros(1, 24, 24, dtype=torch.bool)
    masks[0, 10, 12] = True
    near = local_matching(query, query, masks, 5)[0] == 0
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[5:16, 7:18] = True
    assert (near == expected).all()


def test_the_published_window_has_31_cells_a_side() -> None:
    query = torch.zeros(1, 40, 40)
    masks = torch.zeros(1, 40, 40, dtype=torch.bool)
    masks[0, 20, 20] = True
    assert (local_matching(query, query, masks, 15) == 0).sum() == 31 * 31


def test_pixels_outside_the_image_are_not_matched() -> None:
    query = torch.zeros(2, 6, 6)  # as near as can be to zeros that an image is padded with
    masks = torch.zeros(1, 6, 6, dtype=torch.bool)
    masks[0, 5, 5] = True
    previous = torch.ones(2, 6, 6) * 0.5
    found = local_matching(query, previous, masks, 2)[0]
    assert (found[:3] == 1).all()
    assert float(found[5, 5]) == pytest.approx(math.tanh(0.25))


def test_gradients_of_both_are_those_of_the_nearest_pixel() -> None:
    query = _embedding(6, 3, 9, 10).requires_grad_()
    previous = _embedding(7, 3, 9, 10).requires_grad_()
    masks = torch.rand(1, 9, 10, generator=torch.Generator().manual_seed(8)) < 0.4
    weights = _embedding(9, 1, 9, 10)
    found = torch.autograd.grad((local_matching(query, previous, masks, 20) * weights).sum(), [query, previous])
    pixels = previous[:, masks[0]].T
    everywhere = torch.autograd.grad((global_matching(query, [pixels]) * weights).sum(), [query, previous])
    squared = (query.flatten(1).T[:, None] - previous[:, masks[0]].T[None]).square().sum(2)
    direct = torch.tanh(squared.min(1).values / 2).view(9, 10)
    plain = torch.autograd.grad((direct * weights[0]).sum(), [query, previous])
    for first, second, third in zip(found, everywhere, plain, strict=True):
        assert third.abs().max() > 0.01
        assert torch.allclose(first, third, atol=1e-4)
        assert torch.allclose(second, third, atol=1e-4)
