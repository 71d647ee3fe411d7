"""What differs between two results, frame by frame."""

import json

import pytest
from helpers.annotated_memory import video, videos

from vis_ros.evaluation.compare_results import LostIdentity, compare
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import METRICS

A, B = (0, 0, 10, 10), (15, 0, 25, 10)
TRUTH = videos(video([[(1, A), (2, B)]] * 6, 'one'), video([[(1, A)]] * 2, 'two'), source='truth')


def evaluated(*frames, truth=TRUTH, source='results'):
    return evaluate(videos(*[video(each, name) for each, name in zip(frames, ('one', 'two'), strict=True)]), truth)


GOOD = evaluated([[(7, A), (8, B)]] * 6, [[(7, A)]] * 2)


def test_no_difference_whatever_the_numbers_of_the_identities():
    other = evaluated([[(70, A), (80, B)]] * 6, [[(3, A)]] * 2)
    comparison = compare(GOOD, other)
    assert [each.metric for each in comparison.agnostic] == list(METRICS)
    assert all(each.change == 0 for each in (*comparison.agnostic, *comparison.aware))
    assert (comparison.per_video, comparison.objects, comparison.lost_identities) == ({}, (), ())


def test_an_object_that_is_not_found_and_one_whose_identity_changes():
    # Object 1 is not found in frames 2 and 3 and has another identity from frame 4 on; object 2 changes in frame 3.
    worse = [[(7, A), (8, B)], [(7, A), (8, B)], [(8, B)], [(9, B)], [(5, A), (9, B)], [(5, A), (9, B)]]
    comparison = compare(GOOD, evaluated(worse, [[(7, A)]] * 2))
    assert comparison.lost_identities == (
        LostIdentity('one', 1, 'thing', 2, 3, 'b', None, 7),
        LostIdentity('one', 1, 'thing', 4, 4, 'b', 5, 7),
        LostIdentity('one', 2, 'thing', 3, 3, 'b', 9, 8),
    )
    assert comparison.per_video.keys() == {'one'}
    changes = {each.metric: each.change for each in comparison.agnostic}
    assert (changes['IDSW'], changes['Frag'], changes['MOTA']) == pytest.approx((2, 1, -(2 + 2) / 14))
    assert [(each.a.object_id, each.b.switches) for each in comparison.objects] == [(1, 1), (2, 1)]


def test_losses_of_both_sides_and_of_both_at_once():
    first = evaluated([[(7, A), (8, B)]] * 2 + [[(8, B)]] + [[(7, A), (8, B)]] * 3, [[(7, A)]] * 2)
    second = evaluated([[(7, A), (8, B)]] * 2 + [[]] + [[(7, A), (9, B)]] * 3, [[], [(7, A)]])
    assert compare(first, second).lost_identities == (
        LostIdentity('one', 2, 'thing', 2, 2, 'b', None, 8),
        LostIdentity('one', 2, 'thing', 3, 3, 'b', 9, 8),
        LostIdentity('two', 1, 'thing', 0, 0, 'b', None, 7),
    )
    assert {loss.lost_in for loss in compare(second, first).lost_identities} == {'a'}


def test_the_other_way_round():
    other = evaluated([[(7, A)]] * 6, [[(7, A)]] * 2)
    there, back = compare(GOOD, other), compare(other, GOOD)
    assert [each.change for each in there.agnostic] == [-each.change for each in back.agnostic]
    assert [loss.lost_in for loss in (*there.lost_identities, *back.lost_identities)] == ['b', 'a']


def test_json():
    comparison = compare(GOOD, evaluated([[]] * 6, [[(7, A)]] * 2))
    content = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    expected = {'metric': 'MOTA', 'a': 1, 'b': 1 / 7, 'change': 1 / 7 - 1, 'interval': None, 'word': 'undecided'}
    assert content['agnostic'][METRICS.index('MOTA')] == expected
    assert content['truth'] == 'truth' and len(content['losses']) == len(content['objects']) == 2


@pytest.mark.parametrize(
    'truth',
    [
        videos(video([[(1, A), (2, B)]] * 6, 'one'), video([[(1, B)]] * 1, 'two')),
        videos(video([[(1, A), (3, B)]] * 6, 'one'), video([[(1, A)]] * 2, 'two')),
        videos(video([[(1, A), (2, (15, 0, 25, 9))]] * 6, 'one'), video([[(1, A)]] * 2, 'two')),
    ],
)
def test_different_truth_is_refused(truth):
    with pytest.raises(ValueError, match='not evaluated against the same frames of the same ground truth'):
        compare(GOOD, evaluated([[]] * 6, [[]] * 2, truth=truth))


def test_different_common_frames_are_refused():
    some = evaluate(videos(video([[(7, A), (8, B)]] * 5, 'one'), video([], 'two')), TRUTH, common_frames=True)
    with pytest.raises(ValueError, match=r'\(8 frames of truth, 5 of truth\)'):
        compare(GOOD, some)
