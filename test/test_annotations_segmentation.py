"""Segmentations of COCO and YouTube-VIS files: compared with pycocotools, and the message for each fault."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.segmentation import compressed, fault, to_rle, uncompressed, union
from vis_ros.masks.rle import decompress

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: arrays.arrays(np.uint8, size, elements=st.integers(0, 1))
)


def lengths_by_hand(mask):
    """Down the columns, background first, pixel by pixel."""
    counts, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


@settings(max_examples=200, deadline=None)
@given(masks)
def test_both_forms_of_run_lengths_hold_the_same_mask(mask):
    rle = encode(mask)
    assert decompress(rle['counts']).tolist() == lengths_by_hand(mask)
    size = mask.shape
    for form in (uncompressed(rle), compressed(rle)):
        read = json.loads(json.dumps(form))
        assert fault(read, size) is None
        assert (decode(to_rle(read, size)) == mask).all()


def test_long_runs_take_several_characters():
    mask = np.zeros((1100, 1000), np.uint8)
    mask[500:, 900:] = 1
    code = encode(mask)['counts']
    assert decompress(code).tolist() == lengths_by_hand(mask)
    assert len(decompress(b'')) == 0


@settings(max_examples=200, deadline=None)
@given(masks, st.data())
def test_a_damaged_code_is_refused_or_decodes_as_pycocotools_has_it(mask, data):
    code = bytearray(encode(mask)['counts'])
    code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(48, 111))
    code = code[: data.draw(st.integers(1, len(code)))].decode()
    size = list(mask.shape)
    if fault({'size': size, 'counts': code}, mask.shape) is None:
        decoded = coco.decode({'size': size, 'counts': code.encode()})
        assert decoded.sum() == decompress(code)[1::2].sum() == coco.area({'size': size, 'counts': code.encode()})


def test_polygons_are_one_object_and_filled_as_pycocotools_does():
    polygons = [[2, 2, 8, 2, 8, 6, 2, 6], [10.5, 1, 14, 1, 12, 9]]
    size = 12, 16
    assert fault(polygons, size) is None
    expected = np.any([coco.decode(coco.frPyObjects([each], *size))[..., 0] for each in polygons], axis=0)
    assert (decode(to_rle(polygons, size)) == expected).all() and expected.sum() > 24
    assert decode(union([encode(expected), encode(~expected)])).all()


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        ([], 'is [], expected null, polygons or a run-length code'),
        (7, 'is 7, expected null'),
        ('abc', "is 'abc', expected null"),
        ([[1, 1, 5, 1, 5]], 'polygon 0: has 5 numbers, expected x y pairs, at least 3'),
        ([[1, 1, 5, 5]], 'polygon 0: has 4 numbers'),
        ([[1, 1, 5, 1, 5, 5], [1, 1]], 'polygon 1: has 2 numbers'),
        ([[1, 1, 5, 1, 5, 'x']], 'polygon 0: is [1, 1, 5, 1, 5, '),
        ([[[1, 1], [5, 1], [5, 5]]], 'expected a list of numbers x0 y0 x1 y1'),
        ([[1, 1, 5, 1, 5, float('nan')]], 'contains nan'),
        ([[1, 1, 5, 1, 5, float('inf')]], 'contains inf'),
        ([[1, 1, 15, 1, 5, 5]], 'has the point (15, 1) outside the image of 12x10 pixels'),
        ([[1, 1, 5, -2, 5, 5]], 'has the point (5, -2) outside the image of 12x10 pixels'),
        ([[1, 1, 5, 1, 5, 5, 1]], 'polygon 0: has 7 numbers'),
        ([[-2, 1, 5, 1, 5, 5]], 'has the point (-2, 1) outside'),
        ([[1, 1, 5, 1, 5, 12]], 'has the point (5, 12) outside'),
        ({'counts': [120]}, "is a run-length code without 'size'"),
        ({'size': [10, 12]}, "is a run-length code without 'counts'"),
        ({'size': [12, 10], 'counts': [120]}, "'size' is [12, 10], expected [10, 12]"),
        ({'size': 10, 'counts': [120]}, "'size' is 10, expected [10, 12]"),
        ({'size': [10, 12], 'counts': [100, 19]}, 'run lengths sum to 119, but the image has 10 x 12 = 120 pixels'),
        ({'size': [10, 12], 'counts': [130, -10]}, 'a run length is 130, but the image has 120 pixels'),
        ({'size': [10, 12], 'counts': [2**62] * 4 + [120]}, 'a run length is 4611686018427387904'),
        ({'size': [10, 12], 'counts': [120.0]}, "'counts' is [120.0], expected"),
        ({'size': [10, 12], 'counts': [True] * 120}, "'counts' is [True, "),
        ({'size': [10, 12], 'counts': None}, "'counts' is None"),
        ({'size': [10, 12], 'counts': 'h3 '}, "the character ' ', which no code has"),
        ({'size': [10, 12], 'counts': 'é'}, "the character 'é', which no code has"),
        ({'size': [10, 12], 'counts': 'h'}, 'breaks off in the middle of a run length'),
        ({'size': [10, 12], 'counts': 'PPPPPPPPP1'}, 'a run length of 10 characters'),
        ({'size': [10, 12], 'counts': '51'}, 'run lengths sum to 6, but the image has 10 x 12'),
    ],
)  # fmt: skip
def test_each_fault_is_reported_with_its_value(segmentation, message):
    assert message in fault(segmentation, (10, 12))


def test_a_pixel_beyond_the_border_is_rounding():
    assert fault([[-0.5, 0, 12.9, 0, 5, 10.5]], (10, 12)) is None
