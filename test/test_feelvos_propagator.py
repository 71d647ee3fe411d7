from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.feelvos.network import Feelvos, enlarge
from vis_ros.propagation.feelvos.propagator import FeelvosPropagator
from vis_ros.propagation.torch_parts import TorchParts

_SIZE = (64, 96)


@pytest.fixture(scope='module')
def network() -> Feelvos:
    """An untrained network whose head picks the object with the nearest pixels: minus the global and local maps."""
    torch.manual_seed(0)
    network = Feelvos(FeelvosConfig('tiny', head_channels=8, embedding_diagonal=3.0)).eval()

    def nearest(shared: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return (-4 * maps[:, 0] - 4 * maps[:, 2] + 0.1 * maps[:, 1])[:, None]

    network.head.logits = nearest  # type: ignore[method-assign]
    return network


@pytest.fixture
def propagator(network: Feelvos) -> FeelvosPropagator:
    return FeelvosPropagator(TorchParts(network, torch.device('cpu')))


def _image(shift: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    """A red square at (16, 8 + shift), a blue one at (32, 56), on gray."""
    image = np.random.default_rng(seed).integers(110, 130, (*_SIZE, 3), np.uint8)
    image[16:40, 8 + shift : 32 + shift] = (20, 20, 240)
    image[32:56, 56:80] = (240, 60, 20)
    return image


def _mask(top: int, left: int, side: int = 24) -> NDArray[np.bool_]:
    mask = np.zeros(_SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_planes_are_a_softmax_of_the_background_and_each_object(propagator: FeelvosPropagator) -> None:
    propagator.start(7, _image(), _mask(16, 8))
    propagator.start(3, _image(), _mask(32, 56))
    assert propagator.object_ids == (3, 7)
    planes = propagator.step(_image(2, seed=1))
    assert planes.shape == (3, *_SIZE)
    assert planes.dtype == np.float32
    assert np.allclose(planes.sum(0), 1, atol=1e-5)
    labels = planes.argmax(0)
    assert _iou(labels == 1, _mask(32, 56)) > 0.4
    assert _iou(labels == 2, _mask(16, 10)) > 0.4


def test_a_step_is_one_pass_of_the_network(network: Feelvos, propagator: FeelvosPropagator) -> None:
    images = [_image(2 * i, seed=i) for i in range(3)]
    propagator.start(1, images[0], _mask(16, 8))
    pixels = torch.from_numpy(np.stack(images)).flip(3).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        features, embeddings = network.encode((pixels - 127) / 128)
        mask = torch.from_numpy(_mask(16, 8))
        masks = torch.stack((~mask, mask))
        references = [embeddings[0][:, each].T for each in network.cells(masks)]
        for time in (1, 2):
            logits = network.segment(
                features[time],
                network.global_maps(embeddings[time], references),
                network.local_maps(embeddings[time], embeddings[time - 1], masks),
                masks,
            )
            expected = enlarge(logits).softmax(0)
            assert np.allclose(propagator.step(images[time]), expected, atol=1e-4)
            masks = torch.stack([expected.argmax(0) == 0, expected.argmax(0) == 1])


def test_an_object_can_start_later(propagator: FeelvosPropagator) -> None:
    propagator.start(1, _image(), _mask(16, 8))
    propagator.step(_image(2, seed=1))
    propagator.start(2, _image(2, seed=1), _mask(32, 56))
    labels = propagator.step(_image(4, seed=2)).argmax(0)
    assert _iou(labels == 1, _mask(16, 12)) > 0.4
    assert _iou(labels == 2, _mask(32, 56)) > 0.4


def test_the_image_of_the_last_step_is_not_encoded_again(network: Feelvos, monkeypatch: pytest.MonkeyPatch) -> None:
    propagator = FeelvosPropagator(TorchParts(network, torch.device('cpu')))
    encoded: list[int] = []
    encode = network.encode

    def counted(images: torch.Tensor) -> Any:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(network, 'encode', counted)
    propagator.start(1, _image(), _mask(16, 8))
    propagator.start(2, _image(), _mask(32, 56))
    assert len(encoded) == 1
    propagator.step(_image(2))
    propagator.start(2, _image(2), _mask(32, 56))
    assert len(encoded) == 2


def test_an_object_can_continue_from_an_older_image_than_the_others(propagator: FeelvosPropagator) -> None:
    propagator.start(1, _image(), _mask(16, 8))
    for i in (1, 2):
        propagator.step(_image(2 * i, seed=i))
    propagator.start(2, _image(2, seed=1), _mask(32, 56))
    labels = propagator.step(_image(6, seed=3)).argmax(0)
    assert _iou(labels == 1, _mask(16, 14)) > 0.4
    assert _iou(labels == 2, _mask(32, 56)) > 0.4


def test_a_lost_object_is_found_by_its_reference_frame(propagator: FeelvosPropagator) -> None:
    propagator.start(1, _image(), _mask(16, 8))
    propagator.step(_image(seed=1))
    propagator.correct(1, np.zeros(_SIZE, bool))
    found = propagator.step(_image(seed=2))[1]
    assert found[20:36, 12:28].mean() > 2 * found[:, 60:].mean()  # the local map is 1, the global is not


def test_a_correction_replaces_the_mask(propagator: FeelvosPropagator) -> None:
    propagator.start(1, _image(), _mask(16, 8))
    propagator.start(2, _image(), _mask(32, 56))
    propagator.step(_image(seed=1))
    propagator.correct(1, _mask(16, 8))
    with_truth = propagator.step(_image(seed=2))
    propagator.correct(1, _mask(32, 56))  # of the other, which loses it
    swapped = propagator.step(_image(seed=3))
    assert swapped[1][34:54, 58:78].mean() > with_truth[1][34:54, 58:78].mean() + 0.1
    assert swapped[2][34:54, 58:78].mean() < with_truth[2][34:54, 58:78].mean() - 0.1


def test_the_background_is_that_of_the_newest_reference(network: Feelvos, propagator: FeelvosPropagator) -> None:
    propagator.start(1, _image(), _mask(16, 8))  # here the blue square is background
    propagator.start(2, _image(), _mask(32, 56))
    cells = network.cells(torch.from_numpy(_mask(16, 8) | _mask(32, 56)))
    assert len(propagator._background) == int((~cells).sum())
    together = propagator.step(_image(seed=1))
    assert together[2][36:52, 60:76].mean() > 0.5


def test_the_state_does_not_grow(propagator: FeelvosPropagator) -> None:
    def size() -> int:
        each = propagator._objects.values()
        frames = {id(one.frame): one.frame for one in each}
        tensors = [one.reference for one in each] + [one.mask for one in each] + [propagator._background]
        return sum(t.size for t in tensors) + sum(f.embedding.size + f.image.size for f in frames.values())

    propagator.start(1, _image(), _mask(16, 8))
    propagator.step(_image())
    before = size()
    for i in range(5):
        propagator.step(_image(i, seed=i))
    assert size() == before


def test_objects_are_forgotten(propagator: FeelvosPropagator) -> None:
    assert (propagator.step(_image()) == 1).all()
    propagator.start(1, _image(), _mask(16, 8))
    propagator.start(2, _image(), _mask(32, 56))
    propagator.forget(1)
    assert propagator.object_ids == (2,)
    assert propagator.step(_image()).shape == (2, *_SIZE)
    with pytest.raises(KeyError):
        propagator.forget(1)
    with pytest.raises(KeyError):
        propagator.correct(1, _mask(16, 8))
    propagator.reset()
    assert propagator.object_ids == ()
    assert propagator.step(np.zeros((32, 32, 3), np.uint8)).shape == (1, 32, 32)


def test_an_object_that_covers_the_image_leaves_no_background(propagator: FeelvosPropagator) -> None:
    propagator.start(1, _image(), np.ones(_SIZE, bool))
    planes = propagator.step(_image(seed=1))
    assert np.isfinite(planes).all()
    assert (planes.argmax(0) == 1).all()


def test_errors_name_the_fault(propagator: FeelvosPropagator) -> None:
    with pytest.raises(ValueError, match='object 4 is empty'):
        propagator.start(4, _image(), np.zeros(_SIZE, bool))
    with pytest.raises(ValueError, match='multiples of 32'):
        propagator.step(np.zeros((60, 96, 3), np.uint8))
    propagator.start(1, _image(), _mask(16, 8))
    with pytest.raises(ValueError, match='working size'):
        propagator.step(np.zeros((96, 96, 3), np.uint8))
    with pytest.raises(ValueError, match='working size'):
        propagator.correct(1, np.zeros((96, 96), bool))


# --- the packaged network, which knows things when it sees them ------------------------------------------------------


def seen_at(time: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """A fast ball above a slow box: the image, and the mask of each."""
    ground = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (288, 512, 3), np.uint8), (0, 0), 12)
    image = np.asarray(cv2.normalize(ground, np.empty_like(ground), 60, 140, cv2.NORM_MINMAX), np.uint8)
    ball, box = np.zeros((288, 512), np.uint8), np.zeros((288, 512), np.uint8)
    cv2.circle(ball, (60 + 10 * time, 90), 32, 1, -1)
    cv2.rectangle(box, (60 + 2 * time, 190), (130 + 2 * time, 250), 1, -1)
    image[ball > 0], image[box > 0] = (30, 40, 220), (220, 200, 30)
    return image, ball > 0, box > 0


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_an_object_that_starts_in_an_older_image_does_not_harm_the_others() -> None:
    """The pixels of the others in that image are not background."""
    propagator = load_propagation_model('feelvos', device='cpu', threads=1).new()
    old, ball, _ = seen_at(0)
    propagator.start(1, old, ball)
    for time in range(1, 13):
        image, ball, _ = seen_at(time)
        planes = propagator.step(image)
    before = iou(planes.argmax(0) == 1, ball)
    older, _, box = seen_at(4)
    propagator.start(2, older, box)
    for time in range(13, 17):
        image, ball, box = seen_at(time)
        labels = propagator.step(image).argmax(0)
        assert iou(labels == 1, ball) > before - 0.05 and iou(labels == 2, box) > 0.85
    assert before > 0.9


def test_a_mask_that_contains_no_cell_center_is_propagated() -> None:
    image = seen_at(0)[0]
    bar = np.zeros((288, 512), bool)
    bar[101:161, 205:212] = True
    image[bar] = (240, 240, 240)
    propagator = load_propagation_model('feelvos', device='cpu', threads=1).new()
    assert not propagator._cells(bar).any()
    propagator.start(1, image, bar)
    for _ in range(3):
        labels = propagator.step(image).argmax(0)
    assert iou(labels == 1, bar) > 0.25
