from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.propagation.pts import background_tuning
from vis_ros.propagation.pts import propagator as module
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.network import Pts
from vis_ros.propagation.pts.object_tracking import ObjectTracker
from vis_ros.propagation.pts.propagator import PtsPropagator
from vis_ros.propagation.torch_parts import TorchParts

CPU = torch.device('cpu')
SIZE = (64, 96)


@pytest.fixture(scope='module')
def network() -> Pts:
    torch.manual_seed(0)
    network = Pts(PtsConfig('light', decoder_channels=16, crop_size=64)).eval()
    torch.nn.init.normal_(network.rgsn.decoder.head.weight, std=0.1)
    return network


def _image(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def _mask(x: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[20:40, x : x + 24] = True
    return mask


def _found_at(box: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make OTN find every object at a box."""

    def find(tracker: ObjectTracker, frame: object) -> bool:
        tracker.box = np.array(box, np.float32)
        return True

    monkeypatch.setattr(module.ObjectTracker, 'find', find)


def _normalized(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> Tensor:
    x0, y0, x1, y1 = box
    pixels = (image[y0:y1, x0:x1, ::-1].astype(np.float32) - 127) / 128
    return torch.from_numpy(cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_LINEAR)).permute(2, 0, 1)[None]


def _assert_close_inside(crops: Tensor, expected: Tensor) -> None:
    """Without the border, where pixels outside the crop count."""
    torch.testing.assert_close(crops[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=0.02, rtol=0)


class _Recorded:
    """Records the arguments of RGSN."""

    def __init__(self, network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
        forward, reference = network.rgsn.forward, network.rgsn.reference

        def recorded_forward(image: Tensor, heat_map: Tensor, features: Tensor) -> Tensor:
            self.image, self.heat_map, self.features = image, heat_map, features
            self.logits = forward(image, heat_map, features)
            return self.logits

        def recorded_reference(image: Tensor, mask: Tensor) -> Tensor:
            self.reference_image, self.reference_mask = image, mask
            return reference(image, mask)

        monkeypatch.setattr(network.rgsn, 'forward', recorded_forward)
        monkeypatch.setattr(network.rgsn, 'reference', recorded_reference)


def test_a_step_is_rgsn_in_one_and_a_half_times_the_box_of_otn(network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Recorded(network, monkeypatch)
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(3, _image(0), _mask(36))
    box, reference_box = (28, 12, 76, 48), (30, 15, 66, 45)
    _assert_close_inside(seen.reference_image, _normalized(_image(0), reference_box))
    x0, y0, x1, y1 = reference_box
    small = _mask(36)[y0:y1, x0:x1].astype(np.float32)
    expected = cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR) >= 0.5
    assert (seen.reference_mask[0, 0].numpy() != expected).mean() < 0.01
    reference = network.rgsn.reference(seen.reference_image, seen.reference_mask)
    _found_at((36, 18, 68, 42), monkeypatch)
    planes = propagator.step(_image(1))
    _assert_close_inside(seen.image, _normalized(_image(1), box))
    torch.testing.assert_close(seen.features, reference, atol=1e-4, rtol=1e-3)
    # The mask of the last image, 24 x 20 pixels around (48, 30), is in the middle of the crop of 48 x 36 pixels...
    y, x = np.unravel_index(seen.heat_map[0, 0].argmax().item(), (64, 64))
    assert abs(x - 64 * (48 - 28) / 48) <= 1.5
    assert abs(y - 64 * (30 - 12) / 36) <= 1.5
    # ... and the result, as large as the box, is pasted there.
    probability = seen.logits.softmax(1)[0, 1].numpy()
    expected_plane = np.zeros(SIZE, np.float32)
    expected_plane[12:48, 28:76] = cv2.resize(probability, (48, 36), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(planes[1], expected_plane, atol=1e-3)
    assert (planes[0] == 0.5).all()
    assert planes.shape == (2, *SIZE) and planes.dtype == np.float32


def test_a_box_of_most_of_the_frame_is_segmented_in_the_whole_frame(
    network: Pts, monkeypatch: pytest.MonkeyPatch
) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(36))
    seen = _Recorded(network, monkeypatch)
    _found_at((0, 0, 60, 63), monkeypatch)  # 61.5 %
    propagator.step(_image(1))
    _assert_close_inside(seen.image, _normalized(_image(1), (0, 0, 96, 64)))
    _found_at((0, 2, 60, 62), monkeypatch)  # 58.6 %, and half as large again up to x = 75
    propagator.step(_image(1))
    _assert_close_inside(seen.image, _normalized(_image(1), (0, 0, 75, 64)))


def test_the_previous_mask_is_where_the_object_was_most_probable(network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(20))
    propagator.start(2, _image(0), _mask(50))
    planes = propagator.step(_image(1))
    assert planes.shape == (3, *SIZE)
    labels = planes.argmax(0)
    for number in (1, 2):
        assert np.array_equal(propagator._objects[number].previous, labels == number)


def test_the_box_of_a_tiny_object_stays(network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, small = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    tiny[10:15, 10:20] = True  # 50 pixels
    small[10:13, 10:27] = True  # 51 pixels
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), tiny)
    propagator.start(2, _image(0), small)
    _found_at((40, 20, 80, 60), monkeypatch)
    propagator.step(_image(1))
    assert propagator._objects[1].box.tolist() == [10, 10, 20, 15]
    assert propagator._objects[2].box.tolist() == [40, 20, 80, 60]


def test_proposals_are_computed_once_per_image(network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NDArray[np.uint8]] = []
    tried: list[Tensor] = []

    def proposals(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(image)
        return np.array([[22, 20, 46, 40], [19, 19, 44, 41], [1, 1, 9, 9]], np.float32)

    propagator = PtsPropagator(TorchParts(network, CPU), proposals)
    propagator.start(1, _image(0), _mask(20))
    propagator.start(2, _image(0), _mask(50))
    asked.clear()
    box_features = network.otn.box_features
    monkeypatch.setattr(
        network.otn, 'box_features', lambda frame, boxes: (tried.append(boxes), box_features(frame, boxes))[1]
    )
    image = _image(1)
    propagator.step(image)
    assert len(asked) == 1
    assert asked[0] is image
    assert [22, 20, 46, 40] in tried[0].tolist()
    assert [1, 1, 9, 9] not in tried[0].tolist()


def test_a_correction_is_the_next_previous_mask_and_box(network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(20))
    propagator.step(_image(1))
    propagator.correct(1, _mask(50))
    each = propagator._objects[1]
    assert each.box.tolist() == [50, 20, 74, 40]
    assert each.tracker is not None and each.tracker.box.tolist() == [50, 20, 74, 40]
    seen = _Recorded(network, monkeypatch)
    _found_at((50, 20, 74, 40), monkeypatch)
    propagator.step(_image(2))
    y, x = np.unravel_index(seen.heat_map[0, 0].argmax().item(), (64, 64))
    assert abs(x - 32) <= 1 and abs(y - 32) <= 1
    propagator.correct(1, np.zeros(SIZE, bool))
    propagator.step(_image(2))
    assert not seen.heat_map.any()
    with pytest.raises(KeyError):
        propagator.correct(2, _mask(10))


def test_fine_tuning_fits_the_first_frame_and_does_not_change_the_network(network: Pts) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[_mask(36)] = 210

    def agreement(steps: int) -> float:
        propagator = PtsPropagator(TorchParts(network, CPU), fine_tune_steps=steps)
        propagator.start(1, image, _mask(36))
        found = propagator.step(image)[1]
        return float(found[_mask(36)].mean() - found[~_mask(36)].mean())

    assert agreement(40) > agreement(0) + 0.3
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert not network.training


def test_otn_learns_from_the_box_of_the_mask(network: Pts, monkeypatch: pytest.MonkeyPatch) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(20))
    each = propagator._objects[1]
    assert each.tracker is not None
    each.tracker.score = 1.0
    _found_at((22, 18, 46, 42), monkeypatch)
    learned: list[NDArray[np.float32]] = []
    monkeypatch.setattr(ObjectTracker, 'learn', lambda tracker, frame: learned.append(tracker.box))
    monkeypatch.setattr(network.rgsn, 'forward', lambda *_: _square_logits())
    planes = propagator.step(_image(1))
    ys, xs = np.nonzero(planes.argmax(0))
    assert learned[0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    # The middle half of the crop of 36 x 36 pixels around (34, 30).
    np.testing.assert_allclose(learned[0], [25, 21, 43, 39], atol=1)


def _square_logits() -> Tensor:
    logits = torch.zeros(1, 2, 64, 64)
    logits[:, 0] = 9
    logits[:, 1, 16:48, 16:48] = 18
    return logits


def test_objects_can_start_and_be_forgotten(network: Pts) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU))
    assert np.array_equal(propagator.step(_image(0)), np.ones((1, *SIZE), np.float32))
    assert propagator.input_size == (288, 512)
    for number in (7, 2):
        propagator.start(number, _image(0), _mask(10 * number))
    assert propagator.object_ids == (2, 7)
    assert propagator.step(_image(1)).shape == (3, *SIZE)
    propagator.forget(7)
    assert propagator.object_ids == (2,)
    with pytest.raises(KeyError):
        propagator.forget(7)
    propagator.reset()
    assert propagator.object_ids == ()


def test_inputs_may_be_overwritten_and_results_are_repeatable(network: Pts) -> None:
    answers = []
    for spoiled in (True, False):
        propagator = PtsPropagator(TorchParts(network, CPU))
        image, mask = _image(0), _mask(20)
        propagator.start(1, image, mask)
        if spoiled:
            image[:], mask[:] = 0, False
        answers.append([propagator.step(_image(1)), propagator.step(_image(2))])
    assert np.array_equal(*answers)


def test_bad_sizes_and_empty_masks_are_rejected(network: Pts) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU))
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
    propagator.start(4, _image(0)[:32], _mask(10)[:32])
    assert propagator.step(_image(1)[:32]).shape == (2, 32, 96)


def test_the_published_form_of_otn_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Pts(PtsConfig('vgg', decoder_channels=8, crop_size=64, otn_features='vgg_m', otn_channels=64)).eval()
    few = module.TrackingSettings(4, 4, 1, 1e-4, 2, 2, 1e-4, 4, 5, 1)
    monkeypatch.setattr(module, 'PUBLISHED', few)
    propagator = PtsPropagator(TorchParts(network, CPU))
    propagator.start(1, _image(0), _mask(20))
    assert propagator.step(_image(1)).shape == (2, *SIZE)


def test_an_object_is_tracked_untuned_until_its_fine_tuning_is_ready(network: Pts) -> None:
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[_mask(36)] = 210
    untuned, waiting = (PtsPropagator(TorchParts(network, CPU), fine_tune_steps=steps) for steps in (0, 5))
    background = PtsPropagator(TorchParts(network, CPU), fine_tune_steps=5, in_background=True)
    for propagator in (untuned, waiting):
        propagator.start(1, image, _mask(36))
    with background_tuning._ONE_AT_A_TIME:  # it cannot begin yet
        background.start(1, image, _mask(36))
        tuning = background._objects[1].tuning
        assert tuning is not None
        np.testing.assert_allclose(background.step(image), untuned.step(image), atol=1e-5)
        assert background.state == {'objects being fine-tuned': 1, 'last fine-tuning [s]': 'none yet'}
    tuning.wait()
    background.correct(1, _mask(36))
    background.step(image)
    tuned, expected = (each._objects[1].parts.network.rgsn.decoder for each in (background, waiting))
    for (name, found), wanted in zip(tuned.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(found, wanted, msg=name)
    assert background._objects[1].tuning is None
    assert background.state == {'objects being fine-tuned': 0, 'last fine-tuning [s]': f'{tuning.seconds:.1f}'}
    assert tuning.seconds > 0 and waiting.state['last fine-tuning [s]'] != 'none yet' and not untuned.state


def test_an_object_that_is_forgotten_is_not_tuned_further(network: Pts) -> None:
    propagator = PtsPropagator(TorchParts(network, CPU), fine_tune_steps=100_000, in_background=True)
    propagator.start(1, _image(0), _mask(36))
    tuning = propagator._objects[1].tuning
    assert tuning is not None
    propagator.forget(1)
    tuning.wait()
    assert tuning.parts is None
