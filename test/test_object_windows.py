"""Where there are several objects, MaskRNN and RGMP segment small ones in a window of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vis_ros.propagation.blocks.object_window import ObjectWindow
from vis_ros.propagation.maskrnn.config import MaskRnnConfig
from vis_ros.propagation.maskrnn.propagator import MaskRnnPropagator
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.rgmp.config import RgmpConfig
from vis_ros.propagation.rgmp.propagator import RgmpPropagator

SIZE = (288, 512)
SMALL, TALL, LARGE = (300, 200, 360, 260), (40, 10, 100, 280), (20, 20, 400, 260)


def _box(*box: float) -> NDArray[np.float32]:
    return np.array(box, np.float32)


@pytest.mark.parametrize(('tight', 'widths'), [(True, (160, 256, 512)), (False, (256, 512))])
def test_a_window_holds_the_object_with_its_surroundings_inside_the_image(tight: bool, widths: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    sizes = set()
    for _ in range(500):
        low = random.random(2) * np.array(SIZE[::-1])
        high = low + random.random(2) ** 2 * (np.array(SIZE[::-1]) - low)
        window = ObjectWindow.around(_box(*low, *high), SIZE, tight=tight)
        sizes.add(window.size)
        for span, first, last, image in (
            (window.columns, low[0], high[0], SIZE[1]),
            (window.rows, low[1], high[1], SIZE[0]),
        ):
            margin = (last - first) / 4 - 1  # a window begins at a whole pixel
            assert 0 <= span.start <= max(first - margin, 0)
            assert min(last + margin, image) <= span.stop <= image
    assert sizes == {(height, width) for height in (160, 288) for width in widths}


def test_there_are_no_windows_in_small_images() -> None:
    assert ObjectWindow.around(_box(10, 10, 20, 20), (128, 256), tight=True).size == (128, 160)
    assert ObjectWindow.around(_box(10, 10, 20, 20), (96, 128), tight=True) == ObjectWindow.whole((96, 128))


def test_planes_of_a_window_are_placed_where_they_were() -> None:
    planes = np.random.default_rng(0).random((2, *SIZE)).astype(np.float32)
    window = ObjectWindow.around(_box(*SMALL), SIZE, tight=True)
    found = window.placed(window.of_planes(planes), SIZE)
    inside = np.zeros(SIZE, bool)
    inside[window.rows, window.columns] = True
    np.testing.assert_array_equal(found, planes * inside)
    x, y = window.corners[:2].astype(int)
    assert window.of_planes(planes)[0, 0, 0] == planes[0, y, x]


class _PaintedParts:
    """A network that finds an object where the image is brighter than 100, as far as it is shown, with a gate around
    the given box. It records the sizes of what it is shown.
    """

    def __init__(self, config: PropagationConfig) -> None:
        self.config = config
        self.sizes: list[tuple[str, tuple[int, ...]]] = []

    def run(self, part: str, *inputs: NDArray[Any], any_size: bool = False) -> tuple[NDArray[Any], ...]:
        first = inputs[0]
        if part == 'warp':
            rows, columns = (np.flatnonzero((first[0] > 0.5).any(axis)) for axis in (1, 0))
            return first, _box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        self.sizes.append((part, first.shape[:2]))
        if part == 'reference':
            assert inputs[1].shape == first.shape[:2] and inputs[1].any()
            return (np.array([[[first.shape[:2]]]], np.float32),)
        previous = inputs[1] if inputs[1].ndim == 2 else inputs[1][0]
        assert previous.shape == first.shape[:2]
        box = _tight(previous)
        found = np.zeros(previous.shape, np.float32)
        y, x = slice(int(box[1]), int(box[3])), slice(int(box[0]), int(box[2]))
        found[y, x] = 0.9 * (first[y, x, 0] > 100)
        if self.config.architecture == 'rgmp':
            np.testing.assert_array_equal(inputs[2].ravel(), previous.shape)  # the reference of this size
            return (found,)
        np.testing.assert_allclose(inputs[2], box)  # the box moves with the window
        assert inputs[3].shape[2:] == previous.shape
        return found[None], inputs[2]

    def weights(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        return {}


def _tight(mask: NDArray[Any]) -> NDArray[np.float32]:
    rows, columns = np.nonzero(mask > 0.5)
    return _box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def _mask(box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@pytest.mark.parametrize('architecture', ['maskrnn', 'rgmp'])
def test_several_objects_are_segmented_in_windows_and_one_in_the_whole_image(architecture: str) -> None:
    is_maskrnn = architecture == 'maskrnn'
    parts = _PaintedParts(MaskRnnConfig('painted') if is_maskrnn else RgmpConfig('painted'))
    propagator = MaskRnnPropagator(parts) if is_maskrnn else RgmpPropagator(parts)
    image = np.full((*SIZE, 3), 200, np.uint8)
    boxes = {1: SMALL, 2: TALL}
    for number, box in boxes.items():
        propagator.start(number, image, _mask(box))
    for _ in range(2):
        parts.sizes.clear()
        planes = propagator.step(image)
        for number, box in boxes.items():
            np.testing.assert_array_equal(planes.argmax(0) == number, _mask(box))
        segmented = [size for part, size in parts.sizes if part == 'segment']
        wanted = [(160, 256), (288, 256)] if is_maskrnn else [(160, 160), (288, 160), SIZE]  # the union is wide
        assert segmented == wanted
    propagator.forget(2)
    parts.sizes.clear()
    np.testing.assert_array_equal(propagator.step(image).argmax(0) == 1, _mask(SMALL))
    assert [size for part, size in parts.sizes if part == 'segment'] == [SIZE]
    propagator.start(3, image, _mask(LARGE))
    parts.sizes.clear()
    propagator.step(image)
    assert SIZE in [size for part, size in parts.sizes if part == 'segment']
