"""Instances: parallel arrays that agree, or an error that names what does not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest

from vis_ros.instances import CONFIRMED, TENTATIVE, Instances

SIZE = (20, 30)
ROIS = [[0, 0, 4, 3], [28, 18, 30, 20], [5, 5, 5, 5]]


def fields_of_three(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        'image_size': SIZE,
        'boxes': np.array([[0, 0, 3.5, 2.5], [28, 18, 30, 20], [5, 5, 5, 5]]),
        'scores': [0.9, 0.5, 0.1],
        'class_ids': [2, 0, 1],
        'rois': ROIS,
        'masks': [np.ones((3, 4), np.uint8), np.eye(2, dtype=np.uint8), np.zeros((0, 0), np.uint8)],
        'embeddings': np.arange(12).reshape(3, 4),
        'class_scores': [0.8, 0.6, 0.2],
    }
    return {**values, **changes}


def three(**changes: Any) -> Instances:
    return Instances(**fields_of_three(**changes))


TRACKING = {
    'track_ids': [7, 3, 9],
    'match_scores': [1, 0.5, 0.25],
    'hits': [1, 2, 3],
    'states': [TENTATIVE, CONFIRMED, TENTATIVE],
    'first_seen': [0.5, 1.5, 2.5],
    'positions': [[0, 0, 1], [1, 2, 3], [np.nan] * 3],
}


def test_arrays_get_the_types_that_the_docstring_promises() -> None:
    frame = three(**TRACKING)
    expected = {
        'boxes': 'float32',
        'scores': 'float32',
        'class_ids': 'int32',
        'rois': 'int32',
        'embeddings': 'float32',
        'track_ids': 'uint32',
        'match_scores': 'float32',
        'hits': 'uint32',
        'states': 'uint8',
        'first_seen': 'float64',
        'positions': 'float32',
    }
    assert {name: str(getattr(frame, name).dtype) for name in expected} == expected
    assert len(frame) == 3


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'boxes': np.zeros((3, 5))}, r'Instances\.boxes has shape \(3, 5\), expected \(N, 4\)'),
        ({'rois': np.zeros((3, 2))}, r'Instances\.rois has shape \(3, 2\)'),
        ({'scores': [[0.1], [0.2], [0.3]]}, r'Instances\.scores has shape \(3, 1\), expected \(N\)'),
        ({'embeddings': np.zeros(3)}, r'Instances\.embeddings has shape \(3,\)'),
        ({'embeddings': np.zeros((3, 2, 2))}, r'Instances\.embeddings has shape \(3, 2, 2\)'),
        ({'scores': [0.9]}, r'Instances\.scores has length 1, but boxes has length 3'),
        ({'masks': []}, r'Instances\.masks has length 0, but boxes has length 3'),
        ({'embeddings': np.zeros((4, 2))}, r'Instances\.embeddings has length 4, but boxes has length 3'),
        ({'track_ids': [1, 2]}, r'Instances\.track_ids has length 2, but boxes has length 3'),
        ({'first_seen': [1.0]}, r'Instances\.first_seen has length 1'),
        ({'rois': [[0, 0, 4, 3], [28, 18, 31, 20], [5, 5, 5, 5]]}, r'rois\[1\] = \[28, 18, 31, 20\] .*30x20'),
        ({'rois': [[0, 0, 4, 3], [28, 18, 30, 21], [5, 5, 5, 5]]}, r'rois\[1\]'),
        ({'rois': [[-1, 0, 3, 3], ROIS[1], ROIS[2]]}, r'rois\[0\] = \[-1, 0, 3, 3\]'),
        ({'rois': [ROIS[0], ROIS[1], [6, 5, 5, 5]]}, r'rois\[2\]'),
        ({'image_size': (19, 30)}, r'rois\[1\]'),
        (
            {'masks': [np.ones((4, 3), np.uint8), np.eye(2, dtype=np.uint8), np.zeros((0, 0), np.uint8)]},
            r'masks\[0\] has shape \(4, 3\), but rois\[0\] = \[0, 0, 4, 3\]',
        ),
        ({'masks': [np.ones((3, 4), bool), *fields_of_three()['masks'][1:]]}, r'masks\[0\] has dtype bool'),
    ],
)
def test_what_does_not_agree_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        three(**changes)


@pytest.mark.parametrize(
    ('selection', 'expected'),
    [
        (np.array([True, False, True]), [0, 2]),
        (np.array([2, 0]), [2, 0]),
        ([1, 1], [1, 1]),
        ([-1], [2]),
        (slice(1, None), [1, 2]),
        (np.zeros(3, bool), []),
        (np.zeros(0, int), []),
    ],
)
def test_indexing_takes_every_field_along(selection: Any, expected: list[int]) -> None:
    frame = three(**TRACKING)
    chosen = frame[selection]
    assert chosen.image_size == SIZE
    for field in fields(Instances)[1:]:
        values, originals = getattr(chosen, field.name), getattr(frame, field.name)
        assert len(values) == len(expected)
        for value, index in zip(values, expected, strict=True):
            np.testing.assert_array_equal(value, originals[index])


def test_indexing_leaves_absent_fields_absent() -> None:
    chosen = three(embeddings=None)[[0]]
    assert chosen.embeddings is None and chosen.track_ids is None


def test_identities_go_by_the_scores_of_the_class_where_there_are_any() -> None:
    np.testing.assert_allclose(three().association_scores, [0.8, 0.6, 0.2])
    np.testing.assert_allclose(three(class_scores=None).association_scores, [0.9, 0.5, 0.1])
    np.testing.assert_allclose(three().least_scores, [0.8, 0.5, 0.1])


def test_a_single_number_is_no_index() -> None:
    with pytest.raises(TypeError, match='not by 1'):
        three()[1]  # type: ignore[index]
    with pytest.raises(IndexError):
        three()[[3]]


def test_iteration_gives_one_object_at_a_time() -> None:
    objects = list(three(**TRACKING))
    assert [len(each) for each in objects] == [1, 1, 1]
    assert [each.class_ids.item() for each in objects] == [2, 0, 1]


def test_the_empty_frame() -> None:
    frame = Instances.empty(SIZE, embedding_size=8)
    assert len(frame) == 0 and frame.embeddings is not None and frame.embeddings.shape == (0, 8)
    assert Instances.empty(SIZE).embeddings is None
    assert list(frame) == [] and len(frame[np.zeros(0, bool)]) == 0
    assert frame.areas().shape == (0,)


def test_with_fields_makes_a_checked_copy() -> None:
    frame = three()
    tracked = frame.with_fields(track_ids=[4, 5, 6])
    assert frame.track_ids is None and tracked.track_ids is not None and tracked.track_ids.tolist() == [4, 5, 6]
    with pytest.raises(ValueError, match='track_ids has length 1'):
        frame.with_fields(track_ids=[4])


def test_instances_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        three().scores = np.zeros(3, np.float32)  # type: ignore[misc]


def test_areas_and_full_masks_agree() -> None:
    frame = three()
    assert frame.areas().tolist() == [12, 2, 0]
    for index, area in enumerate(frame.areas()):
        full = frame.full_mask(index)
        assert full.shape == SIZE and full.dtype == np.uint8 and full.sum() == area
    assert np.argwhere(frame.full_mask(1)).tolist() == [[18, 28], [19, 29]]


def test_the_states_are_those_of_the_message() -> None:
    message = pytest.importorskip('vis_ros.msg')
    assert (TENTATIVE, CONFIRMED) == (message.InstanceMask.TENTATIVE, message.InstanceMask.CONFIRMED)
