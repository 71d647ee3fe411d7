"""Instances: parallel arrays that agree, or an error that names what does not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from vis_ros.instances import BRIDGED, CONFIRMED, LOST, TENTATIVE, Instances
from vis_ros.masks import pasted_masks
from vis_ros.masks.paste import place
from vis_ros.masks.pasted_masks import PastedMasks
from vis_ros.visualization import draw_overlay

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
        (1, [1]),
        (np.int64(-1), [2]),
        (slice(1, None), [1, 2]),
        (np.zeros(3, bool), []),
        (np.zeros(0, int), []),
    ],
)
def test_indexing_takes_every_field_along(selection: Any, expected: list[int]) -> None:
    frame = three(**TRACKING)
    chosen = frame[selection]
    assert chosen.image_size == SIZE
    for field in fields(Instances)[1:-1]:  # not image_size, not class_names
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


def test_an_index_beyond_the_objects_is_an_error() -> None:
    for selection in (3, [3], -4):
        with pytest.raises(IndexError):
            three()[selection]
    with pytest.raises(TypeError, match='indexed by a mask'):
        three()[np.zeros((2, 2), int)]


def test_names_of_the_classes() -> None:
    assert three(class_names=('dog', 'cat', 'cup')).names == ['cup', 'dog', 'cat']
    assert three(class_names=('dog',)).names == ['class 2', 'dog', 'class 1']
    assert three().names == ['class 2', 'class 0', 'class 1']


def test_print_shows_one_line_per_object() -> None:
    frame = three(**TRACKING, class_names=('dog', 'cat', 'cup')).with_fields(states=[TENTATIVE, CONFIRMED, LOST])
    assert str(frame).splitlines() == [
        '7 cup 0.90 tentative at x 0-4, y 0-2, 0.00 0.00 1.00 m',
        '3 dog 0.50 at x 28-30, y 18-20, 1.00 2.00 3.00 m',
        '9 cat 0.10 lost at x 5-5, y 5-5',
    ]
    assert str(three()[1]) == 'class 0 0.50 at x 28-30, y 18-20'
    assert str(Instances.empty(SIZE)) == 'no objects'
    assert repr(three(class_names=('dog', 'cat', 'cup'))) == '<Instances: 3 in 30x20: cup 0.90, dog 0.50, cat 0.10>'
    assert repr(Instances.empty(SIZE)) == '<Instances: 0 in 30x20>'


def test_cat_is_the_inverse_of_taking_parts() -> None:
    whole = three(**TRACKING, class_names=('dog', 'cat', 'cup'))
    together = Instances.cat([whole[:1], whole[[]], whole[1:]])
    for field in fields(Instances):
        expected = getattr(whole, field.name)
        if field.name in ('image_size', 'class_names'):
            assert getattr(together, field.name) == expected
        else:
            for value, original in zip(getattr(together, field.name), expected, strict=True):
                np.testing.assert_array_equal(value, original)
    assert Instances.cat([three(), three(embeddings=None)]).embeddings is None


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        ([], 'at least one part'),
        ([Instances.empty(SIZE), Instances.empty((9, 9))], r'different size: \(20, 30\) and \(9, 9\)'),
        ([three(), three(class_names=('dog',))], 'different class names'),
    ],
)
def test_cat_refuses_parts_that_do_not_belong_together(parts: list[Instances], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instances.cat(parts)


def test_from_masks_has_tight_boxes_and_the_same_pixels() -> None:
    random = np.random.default_rng(0)
    masks = np.zeros((4, *SIZE), np.uint8)
    masks[0, 3:9, 10:12] = 1
    masks[1, 5, 5] = 255
    masks[3] = random.random(SIZE) < 0.1
    frame = Instances.from_masks(masks, class_ids=[0, 1, 0, 1], scores=[1, 0.5, 0.25, 0], class_names=['dog', 'cat'])
    assert frame.boxes.tolist()[:3] == [[10, 3, 12, 9], [5, 5, 6, 6], [0, 0, 0, 0]]
    for index in range(4):
        np.testing.assert_array_equal(frame.full_mask(index), masks[index] > 0)
    assert frame.names == ['dog', 'cat', 'dog', 'cat'] and frame.scores.tolist() == [1, 0.5, 0.25, 0]
    assert len(Instances.from_masks(np.zeros((0, *SIZE)))) == 0
    with pytest.raises(ValueError, match=r'shape \(20, 30\), expected \(N, height, width\)'):
        Instances.from_masks(np.zeros(SIZE))


def test_draw_is_the_overlay() -> None:
    image = np.full((*SIZE, 3), 128, np.uint8)
    frame = three(**TRACKING, class_names=('dog', 'cat', 'cup'))
    drawn = frame.draw(image)
    np.testing.assert_array_equal(drawn, draw_overlay(image, frame))
    assert (drawn != image).any() and (image == 128).all()


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


def unpasted() -> dict[str, Any]:
    """Fields of three objects whose masks are not pasted yet."""
    placement = place(np.array(ROIS), 4, SIZE)
    masks = PastedMasks(np.ones((3, 4, 4), np.float32), placement)
    return {'boxes': ROIS, 'rois': placement.rois, 'masks': masks}


def test_masks_that_are_not_pasted_stay_so_until_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pasted = Mock(wraps=pasted_masks.paste)
    monkeypatch.setattr(pasted_masks, 'paste', pasted)
    values = unpasted()
    frame = three(**values)
    chosen = frame[np.array([1])].with_fields(track_ids=[4], positions=np.zeros((1, 3)))
    assert len(frame) == 3 and not pasted.called
    assert chosen.areas().tolist() == [4]
    assert pasted.call_count == 1 and len(pasted.call_args.args[0]) == 1


def test_masks_that_are_not_pasted_must_fit_their_windows() -> None:
    values = unpasted()
    with pytest.raises(ValueError, match=r'masks\[0\] has shape \(3, 4\), but rois\[0\] = \[0, 0, 5, 3\]'):
        three(**{**values, 'rois': [[0, 0, 5, 3], *ROIS[1:]]})
    with pytest.raises(ValueError, match=r'masks\[0\] has shape \(3, 4\), but rois\[0\] = \[0, 0, 5, 3\]'):
        three(**values).with_fields(rois=[[0, 0, 5, 3], *ROIS[1:]])
    with pytest.raises(ValueError, match=r'rois\[1\] = \[28, 18, 30, 20\] .*29x20'):
        three(**values).with_fields(image_size=(20, 29))


def test_with_fields_refuses_what_no_instances_have() -> None:
    with pytest.raises(TypeError, match="no field 'colour'"):
        three().with_fields(colour=[1, 2, 3])


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
    states = message.InstanceMask
    here = (states.TENTATIVE, states.CONFIRMED, states.LOST, states.BRIDGED)
    assert here == (TENTATIVE, CONFIRMED, LOST, BRIDGED)
