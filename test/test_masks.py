"""Masks: encodings and run lengths against pycocotools and as properties, paste against torch, torchvision, OpenCV."""

from __future__ import annotations

import array
import contextlib
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import box_iou as torchvision_iou

from vis_ros.masks import pasted_masks, rle
from vis_ros.masks.crop import Mask, Roi, area, areas_and_centroids, tight_box
from vis_ros.masks.encodings import ENCODINGS, MASK_BITS, decode, encode, rle_bytes
from vis_ros.masks.iou import box_iou, mask_iou
from vis_ros.masks.paste import PasteRule, place
from vis_ros.masks.paste import paste as paste_all
from vis_ros.masks.pasted_masks import PastedMasks

PIXEL_ENCODINGS = ('mono8', 'bits', 'rle', 'png')
SIZE = (48, 64)


def blob(seed: int, size: int = 28) -> NDArray[np.float32]:
    """A smooth random probability map in [0, 1]."""
    noise = np.random.default_rng(seed).random((size, size)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), size / 8), np.float32)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def frame(mask: Mask, roi: Roi, size: tuple[int, int] = SIZE) -> Mask:
    canvas = np.zeros(size, np.uint8)
    x0, y0, x1, y1 = roi
    canvas[y0:y1, x0:x1] = mask
    return canvas


def random_box(rng: np.random.Generator, margin: float) -> NDArray[np.float32]:
    """A box that may reach `margin` pixels out of the image of SIZE."""
    x = np.sort(rng.uniform(-margin, SIZE[1] + margin, 2))
    y = np.sort(rng.uniform(-margin, SIZE[0] + margin, 2))
    return np.array([x[0], y[0], x[1], y[1]], np.float32)


# --- encodings ------------------------------------------------------------------------------------------------------

SHAPES = {
    'one pixel off': np.zeros((1, 1), np.uint8),
    'one pixel on': np.ones((1, 1), np.uint8),
    'no pixels': np.zeros((0, 0), np.uint8),
    'no rows': np.zeros((0, 5), np.uint8),
    'empty': np.zeros((7, 9), np.uint8),
    'full': np.ones((7, 9), np.uint8),
    'row': np.array([[1, 0, 1, 1, 0]], np.uint8),
    'column': np.array([[0], [1], [1]], np.uint8),
    'edges': np.pad(np.zeros((5, 6), np.uint8), 1, constant_values=1),
    'transposed view': np.arange(12, dtype=np.uint8).reshape(3, 4).T % 2,
}


@pytest.mark.parametrize('encoding', PIXEL_ENCODINGS)
@pytest.mark.parametrize('name', SHAPES)
def test_decode_returns_what_was_encoded(name: str, encoding: str) -> None:
    mask = SHAPES[name]
    decoded = decode(encode(mask, encoding), encoding, *mask.shape)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, mask)


MASKS = st.tuples(st.integers(0, 40), st.integers(0, 40)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


@settings(deadline=None)
@given(mask=MASKS, encoding=st.sampled_from(PIXEL_ENCODINGS))
def test_decode_inverts_encode(mask: Mask, encoding: str) -> None:
    np.testing.assert_array_equal(decode(encode(mask, encoding), encoding, *mask.shape), mask)


@settings(deadline=None)
@given(mask=MASKS.filter(lambda mask: mask.size > 0))
def test_rle_is_the_uncompressed_rle_of_coco(mask: Mask) -> None:
    height, width = mask.shape
    counts = np.frombuffer(encode(mask, 'rle'), '<u4').tolist()
    compressed = coco.frPyObjects({'size': [height, width], 'counts': counts}, height, width)
    assert compressed == coco.encode(np.asfortranarray(mask))


def test_the_bytes_are_those_of_the_message_definition() -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], np.uint8)
    assert encode(mask, 'mono8') == bytes([255, 0, 0, 255, 255, 0, 0, 0, 255])
    assert encode(mask, 'bits') == bytes([0b10011000, 0b10000000])
    assert np.frombuffer(encode(mask, 'rle'), '<u4').tolist() == [0, 2, 2, 1, 3, 1]
    assert encode(mask, 'png').startswith(b'\x89PNG')
    assert encode(mask, 'none') == b''


def test_encodings_go_by_name_and_by_number() -> None:
    assert ENCODINGS == {'none': 0, 'mono8': 1, 'bits': 2, 'rle': 3, 'png': 4}
    mask = np.eye(3, dtype=np.uint8)
    for name, number in ENCODINGS.items():
        assert encode(mask, number) == encode(mask, name)
    np.testing.assert_array_equal(decode(encode(mask, 3), 3, 3, 3), mask)


def test_a_bool_mask_and_a_message_array_are_taken() -> None:
    mask = np.eye(5, dtype=bool)
    data = array.array('B', encode(mask.view(np.uint8), 'bits'))
    np.testing.assert_array_equal(decode(data, MASK_BITS, 5, 5), mask)


RUNS = np.array([2, 3, 1], '<u4').tobytes()
PNG = encode(np.ones((2, 3), np.uint8), 'png')


@pytest.mark.parametrize(
    ('data', 'encoding', 'height', 'width', 'message'),
    [
        (b'\xff' * 5, 'mono8', 2, 3, r'height 2 and width 3 needs 6 bytes, the message has 5'),
        (b'\xff' * 7, 'mono8', 2, 3, r'needs 6 bytes, the message has 7'),
        (b'\xff' * 2, 'bits', 2, 3, r'needs 1 bytes, the message has 2'),
        (b'', 'bits', 2, 3, r'needs 1 bytes, the message has 0'),
        (RUNS, 'rle', 2, 4, r'needs runs over 8 pixels, not over 6'),
        (RUNS[:-1], 'rle', 2, 3, r'11 bytes, which is not a whole number'),
        (b'\xff\xff\xff\xff' * 3, 'rle', 2, 3, r'not over 12884901885'),
        (PNG, 'png', 3, 2, r'2 high and 3 wide, the message says 3 and 2'),
        (PNG[:40], 'png', 2, 3, r'damaged or truncated'),
        (b'', 'png', 2, 3, r'does not start as a PNG'),
        (b'\xff\xd8\xff' * 20, 'png', 2, 3, r'does not start as a PNG'),
        (b'x', 'png', 0, 0, r'needs 0 bytes, the message has 1'),
        (b'', 'none', 2, 3, r'no mask'),
        (b'', 'jpeg', 2, 3, r"'jpeg'; the encodings are none \(0\), mono8 \(1\)"),
        (b'', 9, 2, 3, r'unknown mask encoding 9'),
        (b'', 'mono8', -1, 0, r'height -1 and width 0 cannot be'),
        (b'\xff' * 8, 'rle', 1 << 20, 1 << 20, r'width 1048576 cannot be'),
    ],
)
def test_corrupt_data_are_refused(data: bytes, encoding: Any, height: int, width: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(data, encoding, height, width)


@settings(deadline=None)
@given(
    data=st.binary(max_size=64),
    encoding=st.sampled_from(PIXEL_ENCODINGS),
    height=st.integers(0, 9),
    width=st.integers(0, 9),
)
def test_any_bytes_give_a_mask_of_that_size_or_a_value_error(
    data: bytes, encoding: str, height: int, width: int
) -> None:
    try:
        mask = decode(data, encoding, height, width)
    except ValueError:
        return
    assert mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 1}


@settings(deadline=None)
@given(position=st.integers(0, len(PNG) - 1), value=st.integers(0, 255))
def test_a_damaged_png_gives_a_mask_or_a_value_error(position: int, value: int) -> None:
    damaged = bytearray(PNG)
    damaged[position] = value
    with contextlib.suppress(ValueError):
        assert decode(damaged, 'png', 2, 3).shape == (2, 3)


def test_encode_refuses_what_is_no_mask() -> None:
    with pytest.raises(ValueError, match=r'shape \(height, width\), not \(2, 3, 1\)'):
        encode(np.zeros((2, 3, 1), np.uint8), 'bits')


@pytest.mark.parametrize('encoding', ['mono8', 'bits', 'rle'])
def test_decoding_a_message_needs_numpy_only(encoding: str) -> None:
    """What a planner runs: `vis_ros.masks.decode`, which reads no library but numpy for these encodings."""
    code = (
        'import sys; import vis_ros.masks; '
        f'mask = vis_ros.masks.decode(bytes({list(encode(np.eye(8, dtype=np.uint8), encoding))}), "{encoding}", 8, 8); '
        'print(int(mask.trace()), *sorted({"cv2", "pycocotools", "scipy", "torch"} & set(sys.modules)))'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ['8'], result.stderr


# --- run lengths ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(mask=MASKS, margins=st.tuples(*[st.integers(0, 3)] * 4))
def test_the_runs_of_a_crop_give_the_code_of_the_whole_image(mask: Mask, margins: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = margins
    whole = np.pad(mask, ((top, bottom), (left, right)))
    height, width = whole.shape
    coded = rle.MaskRuns.of(mask, (left, top, left + mask.shape[1], top + mask.shape[0]), (height, width))
    assert rle_bytes(coded.crop) == encode(mask, 'rle')
    np.testing.assert_array_equal(coded.image, rle.encode(whole))
    np.testing.assert_array_equal(rle.decode(coded.image, height, width), whole)
    if whole.size:
        assert rle.compress(coded.image) == coco.encode(np.asfortranarray(whole))['counts']


@pytest.mark.parametrize(
    ('roi', 'counts'), [([0, 0, 3, 2], [0, 6]), ([2, 1, 3, 2], [5, 1]), ([0, 0, 0, 0], [6]), ([0, 0, 1, 1], [0, 1, 5])]
)
def test_runs_at_the_corners_of_the_image(roi: list[int], counts: list[int]) -> None:
    mask = np.ones((roi[3] - roi[1], roi[2] - roi[0]), np.uint8)
    assert rle.MaskRuns.of(mask, roi, (2, 3)).image.tolist() == counts


@settings(deadline=None)
@given(runs=st.lists(st.integers(0, 2**28), max_size=20))  # pycocotools overruns its buffer beyond 2**29
def test_compressed_strings_are_those_of_coco(runs: list[int]) -> None:
    height, width = 1, sum(runs)
    compressed = rle.compress(np.array(runs, np.int64))
    assert rle.decompress(compressed).tolist() == runs
    if width:
        assert compressed == coco.frPyObjects({'size': [height, width], 'counts': runs}, height, width)['counts']


def test_all_masks_of_a_frame_are_coded_in_order() -> None:
    masks = [np.ones((2, 3), np.uint8), np.zeros((0, 0), np.uint8)]
    full, empty = rle.mask_runs(masks, np.array([[1, 1, 4, 3], [0, 0, 0, 0]], np.int32), (4, 5))
    assert full.crop.tolist() == [0, 6] and full.image.tolist() == [5, 2, 2, 2, 2, 2, 5]
    assert empty.crop.tolist() == [0] and empty.image.tolist() == [20]


# --- paste ----------------------------------------------------------------------------------------------------------


def paste(
    probability: NDArray[np.float32],
    box: Any,
    size: tuple[int, int],
    rule: PasteRule = 'grid_sample',
    threshold: float = 0.5,
) -> tuple[Mask, Roi]:
    """One mask and its roi."""
    placement = place(np.asarray(box)[None], len(probability), size, rule)
    return paste_all(probability[None], placement, threshold)[0], placement.rois[0]


def grid_sample_frame(probability: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float64]:
    """The probability of every pixel of the image, by torch, over the whole frame."""
    x0, y0, x1, y1 = box.astype(np.float64)
    x = (np.arange(SIZE[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (np.arange(SIZE[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))[None]
    source = torch.from_numpy(probability).double()[None, None]
    return F.grid_sample(source, grid, mode='bilinear', padding_mode='zeros', align_corners=False)[0, 0].numpy()


def torchvision_frame(probability: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    return paste_masks_in_image(torch.from_numpy(probability)[None, None], torch.from_numpy(box)[None], SIZE)[
        0, 0
    ].numpy()


def mmcv_frame(probability: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    x0, y0, x1, y1 = box.astype(np.int32)
    values = cv2.resize(probability, (int(x1 - x0 + 1), int(y1 - y0 + 1)), interpolation=cv2.INTER_LINEAR)
    canvas = np.zeros(SIZE, np.float32)
    canvas[y0 : y1 + 1, x0 : x1 + 1] = values[: SIZE[0] - y0, : SIZE[1] - x0]
    return canvas


REFERENCES: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]]] = {
    'grid_sample': grid_sample_frame,
    'torchvision': torchvision_frame,
    'mmcv': mmcv_frame,
}


@pytest.mark.parametrize('rule', REFERENCES)
@pytest.mark.parametrize('threshold', [0.5, 0.7])
def test_paste_agrees_with_the_full_frame_of_its_model(rule: Any, threshold: float) -> None:
    rng = np.random.default_rng(3)
    set_pixels = 0
    for seed in range(150):
        probability, box = blob(seed), random_box(rng, margin=20 if rule == 'grid_sample' else 0)
        expected = REFERENCES[rule](probability, box)
        mask, roi = paste(probability, box, SIZE, rule, threshold)
        assert mask.dtype == np.uint8
        decided = np.abs(expected - threshold) > 1e-5  # nearer, the last bit of either side decides
        np.testing.assert_array_equal(frame(mask, roi)[decided], (expected > threshold)[decided])
        assert decided.mean() > 0.99
        set_pixels += area(mask)
    assert set_pixels > 10_000


def in_cells(low: float, high: float, pixels: int, cells: int, rule: PasteRule) -> NDArray[np.float64]:
    """Where each pixel of a line lies in a small mask, as its rule is documented; NaN outside of the box."""
    added = 0
    if rule == 'torchvision':
        added, a, b = 1, np.float32(low), np.float32(high)
        half, center = (b - a) * np.float32(0.5) * np.float32((cells + 2) / cells), (a + b) * np.float32(0.5)
        low, high = float(center - half), float(center + half)
    first, count, origin, length = math.floor(low), math.ceil(high) - math.floor(low), low, high - low
    if rule != 'grid_sample':
        first = int(low)
        count = length = max(int(high) - first + 1, 1)
        origin = first
    places = (np.arange(pixels) + (0.5 - origin)) * ((cells + 2 * added) / length) - 0.5
    if rule != 'grid_sample':
        places = np.clip(places, 0, cells + 2 * added - 1)
    inside = (np.arange(pixels) >= first) & (np.arange(pixels) < first + count)
    return np.where(inside, places - added, np.nan)


def one_pixel_at_a_time(
    probability: NDArray[np.float32], box: Any, size: tuple[int, int], rule: PasteRule, threshold: float
) -> Mask:
    """The whole mask, each pixel from its four cells in float32: along the rows first, then along the columns."""
    cells, last = np.pad(probability, 1), len(probability) + 1
    x = in_cells(float(box[0]), float(box[2]), size[1], len(probability), rule)
    y = in_cells(float(box[1]), float(box[3]), size[0], len(probability), rule)
    mask = np.zeros(size, np.uint8)
    for row, column in np.argwhere(np.isfinite(y)[:, None] & np.isfinite(x)).tolist():
        (top, down), (left, across) = (
            divmod(min(max(place[at] + 1, 0), last), 1) if place[at] + 1 < last else (last - 1, 1.0)
            for place, at in ((y, row), (x, column))
        )
        corners = cells[int(top) : int(top) + 2, int(left) : int(left) + 2]
        upper, lower = corners[:, 0] + np.float32(across) * (corners[:, 1] - corners[:, 0])
        value = upper + np.float32(down) * (lower - upper)
        mask[row, column] = value >= threshold if rule == 'grid_sample' else value > threshold
    return mask


@pytest.mark.parametrize('rule', REFERENCES)
def test_paste_rounds_as_one_pixel_at_a_time(rule: Any) -> None:
    """To the last bit, where all probabilities are within a few roundings of the threshold."""
    rng = np.random.default_rng(4)
    size, count = (23, 31), 12
    probabilities = np.float32(0.5) + rng.integers(-2, 3, (count, 5, 5)).astype(np.float32) * np.float32(2**-24)
    corners = rng.uniform(-9, 40, (count, 2, 2)).astype(np.float32)
    boxes = np.sort(corners, axis=1).reshape(count, 4)
    boxes[0], boxes[1, 2:] = (0, 0, 31, 23), boxes[1, :2] + np.float32(0.3)
    placement = place(boxes, 5, size, rule)
    masks = paste_all(probabilities, placement)
    for probability, box, mask, roi in zip(probabilities, boxes, masks, placement.rois, strict=True):
        expected = one_pixel_at_a_time(probability, box, size, rule, 0.5)
        np.testing.assert_array_equal(frame(mask, roi, size), expected)
    assert 0.1 < np.concatenate([mask.ravel() for mask in masks]).mean() < 0.9


@pytest.mark.parametrize('rule', REFERENCES)
def test_a_large_mask_in_blocks_is_that_of_its_parts(rule: Any) -> None:
    box, size = (3.3, 5.7, 611.2, 397.9), (420, 640)
    whole, (_, y0, _, y1) = paste(blob(2), box, size, rule)
    assert whole.size > 4 * 2**15
    for height in (51, 202):  # an image that ends sooner needs other blocks
        part, roi = paste(blob(2), box, (height, 640), rule)
        np.testing.assert_array_equal(part, whole[: len(part)])
        assert roi[1] == y0 and roi[3] == height < y1


# --- pasted masks ---------------------------------------------------------------------------------------------------


def test_masks_are_pasted_when_one_is_read_and_only_those_that_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.stack([blob(seed) for seed in range(6)])
    boxes = np.array([random_box(np.random.default_rng(seed), margin=5) for seed in range(6)])
    placement, pasted = place(boxes, 28, SIZE), []

    def counted(probabilities: Any, placement: Any, threshold: float) -> list[Mask]:
        pasted.append(len(probabilities))
        return paste_all(probabilities, placement, threshold)

    monkeypatch.setattr(pasted_masks, 'paste', counted)
    masks = PastedMasks(probabilities, placement, 0.6)
    few = masks.chosen(np.array([4, 1])).chosen(np.array([1, 0]))  # type: ignore[attr-defined]
    assert len(masks) == 6 and len(few) == 2 and not pasted
    for mask, index in zip(few, (1, 4), strict=True):
        np.testing.assert_array_equal(mask, paste(probabilities[index], boxes[index], SIZE, threshold=0.6)[0])
    assert few[0] is few[0] and len(few[:1]) == 1 and pasted == [2]
    assert [mask.shape for mask in masks] == [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in masks.rois.tolist()]
    assert masks.chosen(np.array([3]))[0] is masks[3] and pasted == [2, 6]


@pytest.mark.parametrize('rule', REFERENCES)
@pytest.mark.parametrize('box', [(10, 10, 10.2, 30), (5.4, 7.5, 5.6, 7.6), (3.5, 4.5, 33.5, 24.5), (0, 0, 64, 48)])
def test_paste_agrees_for_thin_half_pixel_and_whole_boxes(rule: Any, box: Any) -> None:
    box = np.array(box, np.float32)
    expected = REFERENCES[rule](blob(1), box)
    mask, roi = paste(blob(1), box, SIZE, rule)
    decided = np.abs(expected - 0.5) > 1e-5
    np.testing.assert_array_equal(frame(mask, roi)[decided], (expected > 0.5)[decided])


@pytest.mark.parametrize(('rule', 'expected'), [('grid_sample', 1), ('torchvision', 0), ('mmcv', 0)])
def test_a_pixel_at_the_threshold(rule: Any, expected: int) -> None:
    mask, _ = paste(np.full((2, 2), 0.5, np.float32), (4, 4, 12, 12), SIZE, rule)
    assert mask[len(mask) // 2, mask.shape[1] // 2] == expected


@pytest.mark.parametrize('rule', REFERENCES)
def test_paste_takes_maps_of_any_size(rule: Any) -> None:
    probability = np.ones((14, 14), np.float32)
    mask, roi = paste(probability, (10, 10, 20, 30), SIZE, rule)
    assert frame(mask, roi)[10:30, 10:20].mean() > 0.95


NAN, INF = float('nan'), float('inf')
DEGENERATE = [
    (5, 5, 5, 9), (5, 5, 9, 5), (5, 5, 5, 5), (9, 5, 5, 9), (5, 9, 9, 5), (-30, 5, -10, 9), (70, 5, 90, 9),
    (5, -30, 9, -10), (5, 60, 9, 70), (NAN, 5, 9, 9), (5, 5, 9, NAN), (NAN, NAN, NAN, NAN), (-INF, 5, 9, 9),
    (5, 5, INF, INF), (-3e38, -3e38, 3e38, 3e38), (64, 48, 64, 48),
]  # fmt: skip


@pytest.mark.parametrize('box', DEGENERATE)
def test_a_degenerate_box_gives_an_empty_crop(box: Any) -> None:
    for rule in REFERENCES:
        mask, roi = paste(blob(0), np.array(box, np.float32), SIZE, rule)  # type: ignore[arg-type]
        assert mask.shape == (0, 0) and roi.dtype == np.int32
        assert 0 <= roi[0] == roi[2] <= SIZE[1] and 0 <= roi[1] == roi[3] <= SIZE[0]


@settings(deadline=None, max_examples=300)
@given(
    box=st.tuples(*[st.floats(width=32) | st.floats(-100, 200, width=32)] * 4),
    rule=st.sampled_from(sorted(REFERENCES)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_paste_never_raises_and_stays_in_the_image(box: Any, rule: Any, size: tuple[int, int]) -> None:
    mask, roi = paste(blob(0, size=4), np.array(box, np.float32), size, rule)
    x0, y0, x1, y1 = roi.tolist()
    assert 0 <= x0 <= x1 <= size[1] and 0 <= y0 <= y1 <= size[0]
    assert mask.shape == (y1 - y0, x1 - x0) and mask.dtype == np.uint8


def test_paste_of_nan_probabilities_is_empty() -> None:
    mask, _ = paste(np.full((28, 28), np.nan, np.float32), (4, 4, 12, 12), SIZE)
    assert not mask.any()


def test_paste_refuses_an_unknown_rule() -> None:
    with pytest.raises(ValueError, match=r"'nearest' is not one of grid_sample, torchvision, mmcv"):
        paste(blob(0), (4, 4, 12, 12), SIZE, 'nearest')  # type: ignore[arg-type]


# --- measures -------------------------------------------------------------------------------------------------------


def test_measures_agree_with_the_full_frame() -> None:
    rng = np.random.default_rng(5)
    overlaps = 0.0
    previous = paste(blob(999), (5, 5, 40, 40), SIZE)
    for seed in range(200):
        mask, roi = paste(blob(seed), random_box(rng, margin=10), SIZE)
        full, other = frame(mask, roi).astype(bool), frame(*previous).astype(bool)
        (count,), (centroid,) = areas_and_centroids([mask], roi[None])
        assert count == area(mask) == full.sum()
        union = (full | other).sum()
        expected = (full & other).sum() / union if union else 0.0
        assert mask_iou(mask, roi, *previous) == pytest.approx(expected)
        assert mask_iou(*previous, mask, roi) == pytest.approx(expected)
        if full.any():
            rows, columns = np.nonzero(full)
            assert centroid == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5))
        overlaps += expected
        previous = mask, roi
    assert overlaps > 5


def test_the_centroid_of_a_full_box_is_its_center() -> None:
    areas, centroids = areas_and_centroids([np.ones((4, 6), np.uint8)], np.array([[10, 20, 16, 24]], np.int32))
    assert areas.tolist() == [24] and centroids.tolist() == [[13.0, 22.0]]


@pytest.mark.parametrize('mask', [np.zeros((0, 0), np.uint8), np.zeros((3, 3), np.uint8)])
def test_empty_masks_have_no_area_centroid_or_overlap(mask: Mask) -> None:
    roi = (0, 0, *mask.shape)
    full = np.ones((2, 2), np.uint8)
    areas, centroids = areas_and_centroids([full, mask, full], np.array([(4, 6, 6, 8), roi, (0, 0, 2, 2)], np.int32))
    assert areas.tolist() == [4, area(mask), 4] == [4, 0, 4]
    assert np.isnan(centroids[1]).all() and centroids[[0, 2]].tolist() == [[5, 7], [1, 1]]
    assert mask_iou(mask, roi, mask, roi) == 0.0


def test_a_tight_box_is_the_window_of_the_set_pixels() -> None:
    mask = np.zeros((20, 30), bool)
    mask[4, 7] = mask[9, 12] = True
    assert tight_box(mask).tolist() == [7, 4, 13, 10]
    assert tight_box(mask.astype(np.float32) * -0.5).tolist() == [7, 4, 13, 10]
    assert tight_box(np.zeros((20, 30), bool)).tolist() == [0, 0, 0, 0]
    assert tight_box(np.ones((20, 30), np.uint8)).tolist() == [0, 0, 30, 20]


def test_box_iou_agrees_with_torchvision() -> None:
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 50, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 50, (60, 2))], 1).astype(np.float32)
    expected = torchvision_iou(torch.from_numpy(boxes[:20]), torch.from_numpy(boxes[20:])).numpy()
    np.testing.assert_allclose(box_iou(boxes[:20], boxes[20:]), expected, atol=1e-6)
    grown = torch.from_numpy(boxes + np.array([0, 0, 1, 1], np.float32))
    expected = torchvision_iou(grown[:20], grown[20:]).numpy()
    np.testing.assert_allclose(box_iou(boxes[:20], boxes[20:], inclusive=True), expected, atol=1e-6)
    assert box_iou(boxes, boxes).dtype == np.float32
    assert box_iou(boxes.astype(np.float64), boxes.astype(np.float64)).dtype == np.float64


def test_box_iou_of_boxes_without_area_is_zero() -> None:
    boxes = np.array([[5, 5, 5, 9], [7, 7, 7, 7]], np.float32)
    np.testing.assert_array_equal(box_iou(boxes, boxes), 0)
    assert box_iou(boxes, np.zeros((0, 4), np.float32)).shape == (2, 0)
