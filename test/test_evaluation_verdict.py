"""The verdict on made results whose answer is known: no difference, one switch, noise, a real gain, too few videos."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.annotated_memory import video, videos

from vis_ros.evaluation.compare_results import compare
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.paired_interval import FEWEST, paired_interval
from vis_ros.evaluation.settings_difference import settings_differences
from vis_ros.evaluation.verdict import MOST_UNITS

A, B, C = (0, 0, 10, 10), (15, 0, 25, 10), (0, 12, 10, 20)
RUN = {'vis_ros': '1', 'date': 'monday', 'weights': 'demo', 'weights_sha256': 'a' * 64, 'frames': 7}


def names(count):
    return [f'video {number}' for number in range(count)]


def made(frames_of, **keywords):
    return videos(
        *[video(frames, name) for frames, name in zip(frames_of, names(len(frames_of)), strict=True)], **keywords
    )


def two_objects(frames=20, switch_at=None, missed=()):
    """Results for two objects; object 2 gets another id from `switch_at` on, and is missed in some frames."""
    return [
        [(7, A)] + ([] if frame in missed else [(8 if switch_at is None or frame < switch_at else 9, B)])
        for frame in range(frames)
    ]


def verdict(before, after, truth, by=None):
    truth = made(truth)
    return compare(evaluate(made(before), truth), evaluate(made(after), truth), by).verdict


def test_identical_results_have_no_difference():
    truth = [two_objects()] * 8
    given = verdict([two_objects(missed=(3,))] * 8, [two_objects(missed=(3,))] * 8, truth)
    assert (given.answer, given.reason, given.better, given.worse) == ('undecided', 'no difference', 0, 0)
    assert given.sentence() == 'Undecided: there is no difference between a and b in any figure (8 videos).'


def test_one_switch_more_in_one_of_many_videos_is_undecided():
    good = [two_objects()] * 8
    given = verdict(good, [two_objects(switch_at=10), *good[1:]], good)
    assert (given.answer, given.reason, given.better, given.worse) == ('undecided', 'interval holds zero', 0, 1)
    assert given.figure == 'HOTA' and given.change < 0
    assert given.sentence().startswith('Undecided, the interval holds zero: HOTA 1.000 -> 0.9')
    assert 'better in 0, worse in 1 of 8 videos' in given.sentence()


def test_a_switch_more_in_every_video_is_worse():
    truth = [two_objects()] * 8
    given = verdict(truth, [two_objects(switch_at=place) for place in range(4, 12)], truth)
    assert (given.answer, given.worse, given.units) == ('worse', 8, 8)
    back = verdict([two_objects(switch_at=place) for place in range(4, 12)], truth, truth)
    assert (back.answer, back.better) == ('better', 8)
    counted = verdict(truth, [two_objects(switch_at=place) for place in range(4, 12)], truth, by='IDSW')
    assert (counted.answer, counted.change) == ('worse', 8), 'the fewer the better'


@pytest.mark.parametrize('seed', range(2))
def test_a_real_gain_of_two_points_is_found(seed):
    # Of object 2, b finds 2 of 25 frames more than a: J&F of the two objects is 0.02 * 2 higher; the noise is 1 frame.
    random = np.random.default_rng(seed)
    truth = [two_objects(50)] * 12
    misses = random.integers(8, 12, 12)
    noise = random.integers(-1, 2, 12)
    before = [two_objects(50, missed=range(int(count))) for count in misses]
    after = [two_objects(50, missed=range(int(count - 2 + more))) for count, more in zip(misses, noise, strict=True)]
    given = verdict(before, after, truth, by='J&F')
    assert given.answer == 'better' and given.change == pytest.approx(0.02, abs=0.008)
    assert given.interval.low > 0 and given.interval.holds(given.change)


def test_two_short_videos_are_too_few_to_tell():
    truth = [two_objects()] * 2
    given = verdict(truth, [two_objects(switch_at=10)] * 2, truth)
    assert (given.answer, given.reason, given.interval) == ('undecided', 'too few units', None)
    assert given.sentence().startswith(
        'Undecided, too few to tell: 2 segments, at least 5 are needed, each of 25 labeled frames or more.'
    )


def test_two_long_videos_are_compared_in_segments():
    truth = [two_objects(100)] * 2
    # One segment holds the switch; all segments miss the object for a frame in the other results.
    assert verdict(truth, [two_objects(100, switch_at=40), truth[1]], truth).answer == 'undecided'
    given = verdict(truth, [two_objects(100, missed=range(0, 100, 9))] * 2, truth)
    assert (given.answer, given.unit, given.units, given.worse) == ('worse', 'segment', 8, 8)
    assert 'HOTA within segments' in given.sentence()


def test_without_intervals_nothing_is_decided_figure_by_figure():
    truth = made([two_objects()] * 2)
    comparison = compare(evaluate(truth, truth), evaluate(made([two_objects(switch_at=3)] * 2), truth))
    assert {each.word for each in comparison.agnostic} == {'undecided', 'same'}
    many = made([two_objects()] * 9)
    comparison = compare(evaluate(many, many), evaluate(made([two_objects(switch_at=3)] * 9), many))
    words = {each.metric: each.word for each in comparison.agnostic}
    assert (words['IDSW'], words['AssA'], words['DetA']) == ('worse', 'worse', 'same')
    content = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert content['verdict']['answer'] == 'worse' and content['verdict']['interval']['high'] < 0


# --- the interval -----------------------------------------------------------------------------------------------------

SHAPES = {
    'normal': lambda random, count: random.normal(size=count),
    'heavy-tailed': lambda random, count: random.standard_t(2, count),
    'mostly zero': lambda random, count: random.normal(size=count) * (random.random(count) < 0.2),
    'one size': lambda random, count: random.choice([-1.0, 0.0, 1.0], count),
}


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('count', [6, 12, 30])
def test_noise_alone_is_rarely_given_a_verdict(shape, count):
    # At a rate of 5 %, 200 draws have more than 18 false verdicts once in 200 times; the draws are always the same.
    random = np.random.default_rng(count)
    intervals = [paired_interval(SHAPES[shape](random, count)) for _ in range(200)]
    assert sum(not each.holds(0.0) for each in intervals) <= 18


@pytest.mark.parametrize('count', [5, 8, 20])
def test_a_clear_change_is_seen(count):
    random = np.random.default_rng(1)
    found = [paired_interval(random.normal(2.0, 1.0, count)) for _ in range(100)]
    assert sum(each.low > 0 for each in found) > (60 if count == 5 else 95)
    assert sum(each.holds(2.0) for each in found) >= 90


def test_fewer_than_five_have_no_interval():
    assert paired_interval([1.0] * (FEWEST - 1)) is None
    assert paired_interval([1.0] * FEWEST).low == 1


def test_many_units_are_put_into_groups_and_give_the_same_change():
    truth = [two_objects(2)] * (MOST_UNITS + 7)
    after = [two_objects(2, missed=(1,) if number % 3 == 0 else ()) for number in range(len(truth))]
    given = verdict(truth, after, truth, by='J')
    assert given.units == MOST_UNITS + 7 and given.worse == 19
    assert given.answer == 'worse' and given.interval.holds(given.change)


# --- which figure decides ---------------------------------------------------------------------------------------------


def test_the_kind_of_truth_chooses_the_figure():
    one = made([[[(1, A)]] * 3] * 6)
    assert compare(evaluate(one, one), evaluate(one, one)).verdict.figure == 'J&F'
    several = made([[[(1, A), (2, B)]] * 3] * 6)
    assert compare(evaluate(several, several), evaluate(several, several)).verdict.figure == 'HOTA'
    partial = [evaluate(several, several, labels='partial') for _ in range(2)]
    assert compare(*partial).verdict.figure == 'J&F'
    assert 'only some' in compare(*partial).verdict.why
    chosen = compare(*partial, by='HOTA').verdict
    assert chosen.figure == 'HOTA' and 'partial labels' in chosen.why
    with pytest.raises(ValueError, match="'HATO' is not a figure; choose from AP, "):
        compare(*partial, by='HATO')


# --- settings ---------------------------------------------------------------------------------------------------------


def test_only_settings_that_differ_are_listed():
    a = RUN | {'settings': {'score_threshold': 0.3, 'min_hits': 3}}
    b = RUN | {'settings': {'score_threshold': 0.5, 'min_hits': 3}, 'weights_sha256': 'b' * 64}
    b |= {'date': 'tuesday', 'frames': 9, 'stride': 2, 'results_sha256': {'': 'c' * 64}}
    found = [(each.name, each.a, each.b) for each in settings_differences(a, b)]
    assert found == [
        ('score_threshold', '0.3', '0.5'),
        ('SHA-256 of the weights', 'a' * 12, 'b' * 12),
        ('stride', '-', '2'),
        ('date', 'monday', 'tuesday'),
    ]
    assert settings_differences(a, a) == ()


def test_unknown_settings_are_said():
    truth = made([two_objects()] * 2)
    known = evaluate(replace(truth, settings=RUN), truth)
    assert compare(known, evaluate(truth, truth)).to_json()['settings_unknown'].startswith('The settings of b are not')
