"""J and F: contours by hand, TrackEval's JAndF, and frames that do not show an object or its track."""

import cv2
import numpy as np
import pytest
from helpers.annotated_memory import box, frame, overlaps, random_pair, video
from scipy.ndimage import distance_transform_edt
from trackeval.metrics import JAndF

from vis_ros.datasets.coco_rle import encode, window
from vis_ros.evaluation.metrics.boundary import boundary_f, contour, contour_f
from vis_ros.evaluation.metrics.j_and_f import Assignment, assign, mean_f
from vis_ros.evaluation.metrics.mask_overlaps import without_ignored_pixels
from vis_ros.masks.rle import decompress

A, B = (0, 0, 10, 10), (15, 0, 25, 10)


def j_and_f(truth, results):
    """(object, identity, J, F) of each true object."""
    assignments = assign(overlaps(truth, results))
    pairs = list(zip(video(truth), video(results), strict=True))
    f = mean_f(pairs, [each.pair for each in assignments if each.pair])
    return [(each.object_id, each.result_id, each.j, f.get(each.pair, 0.0)) for each in assignments]


def blob(random, size):
    noise = cv2.GaussianBlur(random.random(size), (0, 0), 8)
    return (noise > np.quantile(noise, 0.8)).astype(np.uint8)


# --- contours ---------------------------------------------------------------------------------------------------------


def test_the_contour_of_a_box_lies_on_its_far_edges_and_before_its_near_ones():
    expected = np.zeros((6, 7), np.uint8)
    expected[1:5, 1] = expected[1, 1:5] = 1  # left of and above the box, which is x 2..4, y 2..4
    expected[1:5, 4] = expected[4, 1:5] = 1
    np.testing.assert_array_equal(contour(box(2, 2, 5, 5, (6, 7))), expected)
    assert not contour(np.ones((5, 5), np.uint8)).any()
    assert not contour(np.zeros((5, 5), np.uint8)).any()


def test_f_of_two_lines_apart():
    lines = [np.zeros((30, 30), np.uint8) for _ in range(2)]
    lines[0][:, 10] = lines[1][:20, 13] = 1
    assert contour_f(*lines, 2) == 0
    # All of the short line is within 3 pixels of the long one, and of that the 20 pixels beside the short one.
    assert contour_f(*lines, 3) == pytest.approx(2 * (20 / 30) / (1 + 20 / 30))
    assert contour_f(lines[0], np.zeros_like(lines[0]), 3) == 0
    assert contour_f(*[np.zeros_like(lines[0])] * 2, 3) == 1


@pytest.mark.parametrize('seed', range(8))
def test_the_window_and_the_dilation_make_no_difference(seed):
    """Against distances in the whole image, with masks that touch its border or not."""
    random, size = np.random.default_rng(seed), (300, 420)
    a = blob(random, size)
    b = np.roll(a, random.integers(-6, 7, 2), (0, 1)) ^ (blob(random, size) & (random.random() < 0.3))
    if seed % 2:
        a[:40] = a[-40:] = a[:, :40] = a[:, -40:] = b[:45] = b[-45:] = b[:, :45] = b[:, -45:] = 0
    radius = np.ceil(0.008 * np.hypot(*size))
    lines = [contour(each) > 0 for each in (a, b)]
    near = [distance_transform_edt(~each) <= radius for each in lines]
    precision, recall = (lines[0] & near[1]).sum() / lines[0].sum(), (lines[1] & near[0]).sum() / lines[1].sum()
    assert boundary_f(encode(a), encode(b)) == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize('seed', range(20))
def test_a_window_of_a_code_is_that_of_the_mask(seed):
    random = np.random.default_rng(seed)
    size = tuple(random.integers(1, 90, 2).tolist())
    masks = [random.random(size) < random.random(), blob(random, size), np.zeros(size), np.ones(size)]
    for mask in masks:
        (y0, y1), (x0, x1) = (sorted(random.integers(0, length + 1, 2).tolist()) for length in size)
        code = encode(mask)
        part = window(code, slice(y0, y1 + 5), slice(x0, x1))
        np.testing.assert_array_equal(part, (mask > 0)[y0 : y1 + 5, x0:x1])
        assert decompress(code['counts']).sum() == mask.size
    assert decompress(b'52203').tolist() == [5, 2, 2, 2, 5], 'of the COCO API: differences from the fourth on'


# --- TrackEval --------------------------------------------------------------------------------------------------------


def trackeval(truth, results):
    """TrackEval's means over the objects; it needs ids from 0 without gaps."""
    data = {'num_timesteps': len(truth)}
    for name, frames in (('gt', truth), ('tracker', results)):
        ids = sorted({number for objects in frames for number, *_ in objects})
        data[f'num_{name}_ids'] = len(ids)
        data[f'{name}_ids'] = [np.array([ids.index(number) for number, *_ in objects], int) for objects in frames]
        data[f'{name}_dets'] = [[encode(mask) for _, mask, *_ in objects] for objects in frames]
    figures = JAndF().eval_sequence(data)
    return figures['J-Mean'], figures['F-Mean']


@pytest.mark.parametrize('seed', range(25))
def test_means_equal_trackeval(seed):
    truth, results = random_pair(seed, size=(120, 160), always_visible=True)
    objects = j_and_f(truth, results)
    assert np.mean([each[2:] for each in objects], 0) == pytest.approx(trackeval(truth, results))


@pytest.mark.parametrize('seed', range(25, 40))
def test_means_equal_trackeval_where_objects_leave_but_are_found(seed):
    random = np.random.default_rng(seed)
    truth, _ = random_pair(seed, size=(120, 160))
    noisy = [[(number + 10, dilated(mask, random)) for number, mask, _ in objects] for objects in truth]
    results = [[each for each in objects if random.random() < 0.9] for objects in noisy]
    results[-1] = [*results[-1], (99, box(0, 0, 20, 20, (120, 160)))]
    objects = j_and_f(truth, results)
    assert all(each[1] == each[0] + 10 for each in objects)
    assert np.mean([each[2:] for each in objects], 0) == pytest.approx(trackeval(truth, results))
    assert len({len(objects) for objects in truth}) > 1, 'some are away'


def dilated(mask, random):
    return cv2.dilate(mask, np.ones((int(random.integers(1, 4)),) * 2, np.uint8))


# --- who is there -----------------------------------------------------------------------------------------------------


def test_the_best_of_all_assignments_is_taken():
    # J of object 1: 3/4 with identity 5 and 7/10 with 6; of object 2: 1/4 with 5, nothing with 6. 7/10 + 1/4 is most.
    low = (0, 0, 10, 7)
    both = box(*A) | box(*B)
    results = [[(5, A), (6, low)], [(5, A), (6, low)], [(5, both), (6, low)], [(5, both), (6, low)]]
    assignments = assign(overlaps([[(1, A), (2, B)]] * 4, results))
    assert assignments == [Assignment(1, 6, pytest.approx(0.7)), Assignment(2, 5, pytest.approx(0.25))]


def test_a_frame_without_both_counts_one_and_a_frame_with_one_of_them_nothing():
    truth = [[(1, A)], [], [], [(1, A)]]
    results = [[(5, A)], [], [(5, A)], []]
    assert j_and_f(truth, results) == [(1, 5, 0.5, 0.5)]


def test_an_object_that_nobody_finds_has_nothing_in_any_frame():
    truth = [[(1, A)], [], [], []]
    assert j_and_f(truth, [[]] * 4) == [(1, None, 0.0, 0.0)]
    assert j_and_f(truth, [[(5, B)], [], [], []]) == [(1, None, 0.0, 0.0)], 'TrackEval says 3/4'


def test_a_mask_without_pixels_is_not_there():
    nothing = np.zeros((20, 30), np.uint8)
    assert j_and_f([[(1, A)], [(1, nothing)]], [[(5, A)], [(5, nothing)]]) == [(1, 5, 1.0, 1.0)]
    assert j_and_f([[(1, A)], [(1, nothing)]], [[(5, A)], []]) == [(1, 5, 1.0, 1.0)]


def test_ignored_pixels_do_not_count():
    truth = frame([(1, A)], ignored=(5, 0, 25, 10))
    results = frame([(7, (0, 0, 20, 10)), (8, (15, 0, 25, 10))])
    seen, seen_results = without_ignored_pixels(truth, results)
    assert mean_f([(truth, results)], [(1, 7), (1, 8)]) == {(1, 7): 1.0, (1, 8): 0.0}
    assert seen.masks[0] == seen_results.masks[0] == encode(box(0, 0, 5, 10))
    assert not np.any(seen_results.masks[1] != encode(box(0, 0, 0, 0)))
