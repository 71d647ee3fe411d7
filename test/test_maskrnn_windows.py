"""Where there are several objects, MaskRNN segments small ones in a window of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.maskrnn.config import MaskRnnConfig
from vis_ros.propagation.maskrnn.object_window import ObjectWindow
from vis_ros.propagation.maskrnn.propagator import MaskRnnPropagator

SIZE = (288, 512)
SMALL, TALL, LARGE = (300, 200, 360, 260), (40, 10, 100, 280), (20, 20, 400, 260)


def _box(*box: float) -> NDArray[np.float32]:
    return np.array(box, np.float32)


def test_a_window_holds_the_object_with_its_surroundings_inside_the_image() -> None:
    random = np.random.default_rng(0)
    sizes = set()
    for _ in range(500):
        low = random.random(2) * np.array(SIZE[::-1])
        high = low + random.random(2) ** 2 * (np.array(SIZE[::-1]) - low)
        window = ObjectWindow.around(_box(*low, *high), SIZE)
        sizes.add(window.size)
        for span, first, last, image in (
            (window.columns, low[0], high[0], SIZE[1]),
            (window.rows, low[1], high[1], SIZE[0]),
        ):
            margin = (last - first) / 4 - 1  # a window begins at a whole pixel
            assert 0 <= span.start <= max(first - margin, 0)
            assert min(last + margin, image) <= span.stop <= image
    assert sizes == {(160, 256), (160, 512), (288, 256), (288, 512)}


def test_there_are_no_windows_in_small_images() -> None:
    assert ObjectWindow.around(_box(10, 10, 20, 20), (128, 256)).size == (128, 160)
    assert ObjectWindow.around(_box(10, 10, 20, 20), (96, 128)) == ObjectWindow.whole((96, 128))


def test_planes_of_a_window_are_placed_where_they_were() -> None:
    planes = np.random.default_rng(0).random((2, *SIZE)).astype(np.float32)
    window = ObjectWindow.around(_box(*SMALL), SIZE)
    found = window.placed(window.of_planes(planes), SIZE)
    inside = np.zeros(SIZE, bool)
    inside[window.rows, window.columns] = True
    np.testing.assert_array_equal(found, planes * inside)
    x, y = window.corners[:2].astype(int)
    assert window.of_planes(planes)[0, 0, 0] == planes[0, y, x]


class _PaintedParts:
    """A network that finds an object where the image is bright inside the given box, which is also the gate. It records
    the sizes of what it is shown.
    """

    config = MaskRnnConfig('painted')

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def run(self, part: str, *inputs: NDArray[Any], any_size: bool = False) -> tuple[NDArray[Any], ...]:
        if part == 'warp':
            return inputs[0], _tight(inputs[0][0])
        image, warped, box, flows = inputs
        self.sizes.append(image.shape[:2])
        assert warped.shape[1:] == flows.shape[2:] == image.shape[:2]
        assert any_size == (image.shape[:2] != SIZE)
        np.testing.assert_allclose(box, _tight(warped[0]))  # it moves with the window
        found = np.zeros(warped.shape, np.float32)
        y, x = slice(int(box[1]), int(box[3])), slice(int(box[0]), int(box[2]))
        found[0, y, x] = 0.9 * (image[y, x, 0] > 100)
        return found, box

    def weights(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        return {}


def _tight(mask: NDArray[Any]) -> NDArray[np.float32]:
    rows, columns = np.nonzero(mask > 0.5)
    return _box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def _mask(box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_several_objects_are_segmented_in_windows_and_one_in_the_whole_image() -> None:
    parts = _PaintedParts()
    propagator = MaskRnnPropagator(parts)
    image = np.full((*SIZE, 3), 200, np.uint8)
    boxes = {1: SMALL, 2: TALL}
    for number, box in boxes.items():
        propagator.start(number, image, _mask(box))
    for _ in range(2):
        parts.sizes.clear()
        planes = propagator.step(image)
        for number, box in boxes.items():
            np.testing.assert_array_equal(planes.argmax(0) == number, _mask(box))
        assert parts.sizes == [(160, 256), (288, 256)]
    propagator.forget(2)
    parts.sizes.clear()
    np.testing.assert_array_equal(propagator.step(image).argmax(0) == 1, _mask(SMALL))
    assert parts.sizes == [SIZE]
    propagator.start(3, image, _mask(LARGE))
    parts.sizes.clear()
    propagator.step(image)
    assert parts.sizes == [(160, 256), SIZE]
