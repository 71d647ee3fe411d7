from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.rgmp.config import RgmpConfig
from vis_ros.propagation.rgmp.network import Rgmp
from vis_ros.propagation.rgmp.propagator import RgmpPropagator
from vis_ros.propagation.rgmp.soft_aggregation import soft_aggregation
from vis_ros.propagation.torch_parts import TorchParts

SIZE = (64, 96)
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def network() -> Rgmp:
    torch.manual_seed(0)
    return Rgmp(RgmpConfig('light', decoder_channels=16)).eval()


def _image(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def _mask(x: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[10:40, x : x + 20] = True
    return mask


def _input(image: NDArray[np.uint8]) -> Tensor:
    rgb = image[..., ::-1].astype(np.float32).transpose(2, 0, 1)
    return torch.from_numpy((rgb - 127) / 128)[None]


@torch.inference_mode()
def _pass(
    network: Rgmp, image: NDArray[np.uint8], previous: NDArray, reference: NDArray[np.uint8], mask: NDArray
) -> NDArray[np.float64]:
    """One pass of the network for one object, (h, w)."""
    features = network.reference(_input(reference), torch.from_numpy(mask.astype(np.float32))[None, None])
    soft = torch.from_numpy(previous.astype(np.float32))[None, None]
    return network(_input(image), soft, features)[0, 0].double().numpy()


def _aggregated(background: NDArray, objects: list[NDArray]) -> NDArray[np.float64]:
    clamped = np.clip(np.stack([background, *objects]), 1e-7, 1 - 1e-7)
    odds = clamped / (1 - clamped)
    return odds / odds.sum(0)


def test_soft_aggregation_follows_the_formula() -> None:
    rng = np.random.default_rng(0)
    found = rng.random((4, 5, 6))
    found[:, 0, 0] = 0
    found[:, 0, 1] = 1
    found[:, 0, 2] = (0, 1, 0, 1)
    result = soft_aggregation(found[0], found[1:])
    expected = np.zeros_like(found)
    for y in range(5):
        for x in range(6):
            odds = []
            for q in found[:, y, x]:
                q = min(max(q, 1e-7), 1 - 1e-7)
                odds.append(q / (1 - q))
            expected[:, y, x] = [each / sum(odds) for each in odds]
    np.testing.assert_allclose(result, expected, atol=2e-6)
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)


class _Counting(nn.Module):
    """A network that counts the passes of one step and returns the previous mask unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.config = RgmpConfig('counting')
        self.passes = 0
        self.references = 0

    def reference(self, image: Tensor, mask: Tensor) -> Tensor:
        self.references += 1
        return torch.zeros(1, 1, 2, 3)

    def forward(self, image: Tensor, previous: Tensor, reference: Tensor) -> Tensor:
        assert len(image) == len(previous) == len(reference) == 1
        self.passes += 1
        return previous


def _counted(*starts: tuple[int, int]) -> tuple[int, int]:
    """Passes of a step and references, for objects that start at x in image number i: (i, x)."""
    counting = _Counting()
    propagator = RgmpPropagator(TorchParts(counting, CPU))  # type: ignore[arg-type]
    for number, (image, x) in enumerate(starts, start=1):
        propagator.start(number, _image(image), _mask(x))
    propagator.step(_image(9))
    propagator.step(_image(10))
    assert counting.passes % 2 == 0
    return counting.passes // 2, counting.references


def test_number_of_passes_of_a_step() -> None:
    assert _counted((0, 10)) == (1, 1)
    assert _counted((0, 10), (0, 50)) == (3, 3)
    assert _counted((0, 10), (1, 50)) == (2, 2)
    assert _counted((0, 10), (0, 50), (1, 70)) == (4, 4)


def test_one_object_is_one_pass_and_its_soft_mask_is_kept(network: Rgmp) -> None:
    propagator: Propagator = RgmpPropagator(TorchParts(network, CPU))
    propagator.start(7, _image(0), _mask(10))
    previous: NDArray = _mask(10)
    for number in (1, 2):
        planes = propagator.step(_image(number))
        previous = _pass(network, _image(number), previous, _image(0), _mask(10))
        assert planes.dtype == np.float32
        np.testing.assert_allclose(planes, np.stack([1 - previous, previous]), atol=1e-5)


def test_objects_of_one_image_share_the_background_of_their_union(network: Rgmp) -> None:
    propagator = RgmpPropagator(TorchParts(network, CPU))
    masks = {3: _mask(10), 1: _mask(50)}
    for number, mask in masks.items():
        propagator.start(number, _image(0), mask)
    assert propagator.object_ids == (1, 3)
    previous = {number: mask.astype(float) for number, mask in masks.items()}
    for step in (1, 2):
        planes = propagator.step(_image(step))
        objects = [_pass(network, _image(step), previous[n], _image(0), masks[n]) for n in (1, 3)]
        union = _pass(network, _image(step), previous[1] + previous[3], _image(0), masks[1] | masks[3])
        expected = _aggregated(1 - union, objects)
        np.testing.assert_allclose(planes, expected, atol=1e-4)
        previous = {1: expected[1], 3: expected[2]}


def test_the_background_of_several_images_is_what_is_in_no_union(network: Rgmp) -> None:
    propagator = RgmpPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(10))
    propagator.start(2, _image(0), _mask(30))
    propagator.start(3, _image(5), _mask(70))
    planes = propagator.step(_image(1))
    starts = {1: (0, 10), 2: (0, 30), 3: (5, 70)}
    objects = [_pass(network, _image(1), _mask(x), _image(i), _mask(x)) for i, x in starts.values()]
    both = _mask(10) | _mask(30)
    union = _pass(network, _image(1), both, _image(0), both)
    np.testing.assert_allclose(planes, _aggregated((1 - union) * (1 - objects[2]), objects), atol=1e-4)


def test_an_object_that_is_forgotten_leaves_the_union(network: Rgmp) -> None:
    propagator, fresh = RgmpPropagator(TorchParts(network, CPU)), RgmpPropagator(TorchParts(network, CPU))
    for number, x in ((1, 10), (2, 40), (3, 70)):
        propagator.start(number, _image(0), _mask(x))
    propagator.step(_image(1))
    propagator.forget(2)
    for number, x in ((1, 10), (3, 70)):
        propagator.correct(number, _mask(x))
        fresh.start(number, _image(0), _mask(x))
    np.testing.assert_allclose(propagator.step(_image(2)), fresh.step(_image(2)), atol=1e-6)
    with pytest.raises(KeyError):
        propagator.forget(2)


def test_correct_replaces_the_previous_mask_and_keeps_the_reference(network: Rgmp) -> None:
    propagator = RgmpPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(10))
    propagator.step(_image(1))
    for corrected in (_mask(30), np.zeros(SIZE, bool)):
        propagator.correct(1, corrected)
        expected = _pass(network, _image(2), corrected, _image(0), _mask(10))
        np.testing.assert_allclose(propagator.step(_image(2))[1], expected, atol=1e-5)
    with pytest.raises(KeyError):
        propagator.correct(2, _mask(10))


def test_a_new_start_is_a_new_reference(network: Rgmp) -> None:
    propagator = RgmpPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(10))
    propagator.start(1, _image(3), _mask(40))
    expected = _pass(network, _image(4), _mask(40), _image(3), _mask(40))
    np.testing.assert_allclose(propagator.step(_image(4))[1], expected, atol=1e-5)
    assert propagator.object_ids == (1,)


def test_inputs_may_be_overwritten_afterwards(network: Rgmp) -> None:
    propagator, fresh = RgmpPropagator(TorchParts(network, CPU)), RgmpPropagator(TorchParts(network, CPU))
    for number, x in ((1, 10), (2, 40)):
        image, mask = _image(0), _mask(x)
        propagator.start(number, image, mask)
        image[:], mask[:] = 0, False
        fresh.start(number, _image(0), _mask(x))
    assert np.array_equal(propagator.step(_image(1)), fresh.step(_image(1)))


def test_without_objects_everything_is_background(network: Rgmp) -> None:
    assert np.array_equal(RgmpPropagator(TorchParts(network, CPU)).step(_image(0)), np.ones((1, *SIZE), np.float32))


def test_bad_sizes_and_empty_masks_are_rejected(network: Rgmp) -> None:
    propagator = RgmpPropagator(TorchParts(network, CPU))
    with pytest.raises(ValueError, match='object 4 is empty'):
        propagator.start(4, _image(0), np.zeros(SIZE, bool))
    with pytest.raises(ValueError, match='multiples of 32'):
        propagator.start(4, _image(0)[:50], _mask(10)[:50])
    with pytest.raises(ValueError, match=r'has shape .*, the image has'):
        propagator.start(4, _image(0), _mask(10)[:32])
    assert propagator.object_ids == ()
    propagator.start(4, _image(0), _mask(10))
    with pytest.raises(ValueError, match='call reset'):
        propagator.step(_image(0)[:32])
    with pytest.raises(ValueError, match='call reset'):
        propagator.correct(4, _mask(10)[:32])
    propagator.reset()
    assert propagator.object_ids == ()
    propagator.start(4, _image(0)[:32], _mask(10)[:32])
    assert propagator.step(_image(1)[:32]).shape == (2, 32, 96)


def test_the_state_does_not_grow(network: Rgmp) -> None:
    propagator = RgmpPropagator(TorchParts(network, CPU))

    def remembered() -> int:
        frames = {id(each.frame): each.frame for each in propagator._objects.values()}
        arrays = [array for each in propagator._objects.values() for array in (each.reference, each.previous)]
        arrays += [frame.union for frame in frames.values() if frame.union is not None]
        arrays += [array for frame in frames.values() for array in (frame.image, *frame.masks.values())]
        return sum((array if array.base is None else array.base).nbytes for array in arrays)

    sizes = []
    for step in range(4):
        for number, x in ((1, 10), (2, 40)):
            propagator.start(number, _image(step), _mask(x))
        propagator.step(_image(10))
        sizes.append(remembered())
    assert len(set(sizes)) == 1
