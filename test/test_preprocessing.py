"""Preprocessing and postprocessing: sizes and factors of the resized image, and detections in source pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.engines.postprocessing import postprocess
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.preprocessing import fit, fitted_size, padded

CONFIG = ModelConfig(name='small', class_names=('a', 'b', 'c'), input_height=96, input_width=160)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', [(480, 640), (50, 31), (640, 360), (1, 900), (96, 160)])
def test_uint8_images_are_resized_like_opencv(size: tuple[int, int]) -> None:
    image = noise(*size)
    fitted = fit(image, CONFIG)
    height, width = fitted_size(size, CONFIG)
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    assert fitted.image.dtype == np.uint8
    np.testing.assert_array_equal(fitted.image, expected)
    assert fitted.scale == (width / size[1], height / size[0])
    assert min(height, width) <= 96
    assert max(height, width) <= 160


@pytest.mark.parametrize('size', [(480, 640), (50, 31), (201, 333), (2, 900)])
def test_float_images_are_resized_like_torch(size: tuple[int, int]) -> None:
    image = noise(*size)
    fitted = fit(image, CONFIG.with_fields(resize='float'))
    height, width = fitted.image.shape[:2]
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = functional.interpolate(tensor, (height, width), mode='bilinear', align_corners=False)[0].permute(1, 2, 0)
    np.testing.assert_allclose(fitted.image, expected.numpy(), atol=1e-2)
    scale = min(160 / max(size), 96 / min(size))
    assert (height, width) == (max(int(size[0] * scale), 1), max(int(size[1] * scale), 1))


@pytest.mark.parametrize('resize', ['uint8', 'float'])
@pytest.mark.parametrize('size', [(480, 640), (96, 160), (64, 160), (640, 360), (37, 1000)])
def test_an_image_is_written_into_the_top_left_of_a_buffer(size: tuple[int, int], resize: str) -> None:
    config, image = CONFIG.with_fields(resize=resize), noise(*size)
    alone = fit(image, config)
    buffer = np.full((*padded(alone.image.shape[:2]), 3), 77, alone.image.dtype)
    fitted = fit(image, config, out=buffer)
    assert np.shares_memory(fitted.image, buffer)
    height, width = alone.image.shape[:2]
    np.testing.assert_array_equal(buffer[:height, :width], alone.image)
    assert not buffer[height:].any()
    assert not buffer[:, width:].any()
    assert fitted.scale == alone.scale


@pytest.mark.parametrize(
    ('size', 'expected'),
    [((720, 1280), (96, 171)), ((1280, 720), (96, 54)), ((100, 1000), (20, 200)), ((9, 9), (96,) * 2)],
)
def test_a_fixed_size_does_not_turn_portrait_images(size: tuple[int, int], expected: tuple[int, int]) -> None:
    fitted = fit(noise(*size), CONFIG, fixed_size=(96, 200))
    assert fitted.image.shape[:2] == expected
    assert fitted.scale == (expected[1] / size[1], expected[0] / size[0])


def test_inclusive_boxes_use_one_factor_for_both_axes() -> None:
    assert fit(noise(480, 854), CONFIG.with_fields(legacy_boxes=True)).scale == (160 / 854, 160 / 854)


def test_sizes_are_padded_to_multiples_of_32() -> None:
    assert [padded(size) for size in ((1, 32), (33, 64), (96, 161))] == [(32, 32), (64, 64), (96, 192)]


@pytest.mark.parametrize('image', [np.zeros((48, 64), np.uint8), np.zeros((0, 64, 3), np.uint8), np.zeros((4, 4, 3))])
def test_an_invalid_image_is_rejected(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r'an image must be \(height, width, 3\) uint8 BGR and not empty, got'):
        fit(image, CONFIG)


def test_detections_are_returned_in_source_pixels() -> None:
    outputs = NetworkOutputs(
        boxes=np.array([[10, 20, 30, 60], [0, 0, 4, 4]], np.float32),
        scores=np.array([0.9, 0.4], np.float32),
        labels=np.array([2, 1]),
        masks=np.stack([np.ones((28, 28), np.float32), np.zeros((28, 28), np.float32)]),
        embeddings=np.arange(6, dtype=np.float32).reshape(2, 3),
    )
    found = postprocess(outputs, scale=(0.5, 0.25), image_size=(300, 200), config=CONFIG)
    assert found.boxes.tolist() == [[20, 80, 60, 240], [0, 0, 8, 16]]
    assert found.class_ids.tolist() == [1, 0]
    assert found.rois.tolist() == [[20, 80, 60, 240], [0, 0, 8, 16]]
    assert found.masks[0][1:-1, 1:-1].all()
    assert not found.masks[1].any()


def test_uncertain_masks_lower_the_score_and_change_the_order() -> None:
    masks = np.stack([np.full((28, 28), value, np.float32) for value in (0.5, 0.7, 0.0, 1.0, 0.8)])
    masks[4, :, :14] = 0.0  # half of it sure, half at |2 * 0.8 - 1| = 0.6
    outputs = NetworkOutputs(
        boxes=np.arange(20, dtype=np.float32).reshape(5, 4),
        scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32),
        labels=np.array([1, 2, 3, 1, 2]),
        masks=masks,
        embeddings=np.arange(5, dtype=np.float32)[:, None],
    )
    found = postprocess(
        outputs, scale=(1, 1), image_size=(40, 40), config=CONFIG.with_fields(mask_scores=True, score_threshold=0.57)
    )
    np.testing.assert_allclose(found.scores, np.sqrt([0.7, 0.6, 0.5 * 0.8]), rtol=1e-6)
    assert found.embeddings is not None
    assert found.embeddings[:, 0].tolist() == [2, 3, 4]
    np.testing.assert_allclose(found.association_scores, [0.7, 0.6, 0.5], rtol=1e-6)
    assert found.boxes[:, 0].tolist() == [8, 12, 16]
    assert found.class_ids.tolist() == [2, 0, 1]
    assert [bool(mask.any()) for mask in found.masks] == [False, True, True]


def test_no_detections() -> None:
    none = np.zeros((0, 4), np.float32)
    outputs = NetworkOutputs(none, none[:, 0], none[:, 0], np.zeros((0, 28, 28), np.float32), none)
    found = postprocess(outputs, (1, 1), (30, 20), CONFIG)
    assert len(found) == 0
    assert found.image_size == (30, 20)
