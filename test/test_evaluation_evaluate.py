"""Evaluation from videos to figures: what must be perfect, nothing or a number worked out by hand; what is counted."""

import json

import numpy as np
import pytest
from helpers import trackeval_oracle
from helpers.annotated_memory import SIZE, MemoryVideo, frame, overlaps, random_pair, video, videos

from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import COUNTS, METRICS, IdentitySwitch, MatchedRun
from vis_ros.evaluation.video_evaluation import READINGS

A, B, C = (0, 0, 10, 10), (15, 0, 25, 10), (0, 12, 10, 20)
CLASSES = ('car', 'person')


def agnostic(results, truth, **options):
    return evaluate(videos(results), videos(truth), **options).agnostic


# --- figures ----------------------------------------------------------------------------------------------------------


def test_perfect_results_have_perfect_metrics():
    truth = videos(
        video([[(1, A, 0)], [(1, B, 0)], [], [(1, B, 0)]], 'one'),
        video([[(4, C, 1)]] * 3, 'two'),
        class_names=CLASSES,
    )
    evaluation = evaluate(truth, truth)
    full = {name: 0 if name in COUNTS else 1 for name in METRICS}
    assert evaluation.agnostic == full
    assert evaluation.aware == full
    assert evaluation.per_class == {'car': full, 'person': full}
    assert evaluation.per_video == {'one': full, 'two': full}
    assert evaluation.switches == ()
    assert [(each.object_id, each.result_id, each.j, each.f) for each in evaluation.objects] == [
        (1, 1, 1, 1),
        (4, 4, 1, 1),
    ]


def test_perfect_results_of_several_objects_have_perfect_metrics_except_ar1():
    objects = [[(1, A), (2, B), (3, C)]] * 4
    full = {name: 0 if name in COUNTS else 1 for name in METRICS}
    assert agnostic(objects, objects) == full | {'AR1': pytest.approx(1 / 3)}, 'one track cannot be three objects'


@pytest.mark.parametrize('seed', range(10))
def test_random_truth_is_perfect_as_its_own_result(seed):
    truth, _ = random_pair(seed)
    values = agnostic(truth, truth)
    assert {name: value for name, value in values.items() if name != 'AR1'} == {
        name: 0 if name in COUNTS else pytest.approx(1) for name in METRICS if name != 'AR1'
    }


@pytest.mark.parametrize('seed', range(5))
def test_empty_results_score_0(seed):
    truth, _ = random_pair(seed)
    evaluation = evaluate(videos([[]] * len(truth), class_names=CLASSES), videos(truth, class_names=CLASSES))
    assert set(evaluation.agnostic.values()) == {0}
    assert set(evaluation.aware.values()) == {0}
    assert all(set(values.values()) == {0} for values in evaluation.per_class.values())


def test_two_ids_exchanged_half_way():
    # Two objects in 10 frames, their ids exchanged after 5. All 20 detections are right: DetA is 1, and MOTA is
    # 1 - 2 switches / 20. Each of the four pairs of object and id has 5 true positives, 5 more detections of the object
    # and 5 more of the id: AssA is 5 / (5 + 5 + 5) = 1/3, HOTA its root. One id an object: half of the detections have
    # it, IDF1 is 1/2. A track is on an object in 5 of the 15 frames where either is: IoU 1/3 is below 0.5, AP is 0.
    truth = [[(1, A), (2, B)]] * 10
    values = agnostic([[(7, A), (9, B)]] * 5 + [[(9, A), (7, B)]] * 5, truth)
    assert values == pytest.approx(
        {'AP': 0, 'AP50': 0, 'AP75': 0, 'AR1': 0, 'AR10': 0}
        | {'HOTA': (1 / 3) ** 0.5, 'DetA': 1, 'AssA': 1 / 3, 'IDF1': 0.5}
        | {'IDSW': 2, 'Frag': 0, 'MOTA': 0.9, 'sMOTSA': 0.9}
        | {'J': 0.5, 'F': 0.5, 'J&F': 0.5}
    )


def test_a_new_id_after_eight_of_ten_frames_and_a_second_object_that_is_missed():
    # 20 true detections, of which the 10 of object 1 are found: DetA 10/20, recall 1/2. Identity 7 has 8 of them, 8 the
    # other 2: AssA is (8 * 8/10 + 2 * 2/10) / 10 = 0.68. IDF1: object 1 is 7, so IDTP 8, IDFP 2, IDFN 12: 16/30.
    # One switch: MOTA (10 - 1)/20. Track 7 has IoU 8/10 with object 1, at or above 0.50 ... 0.80: recall 1/2 with
    # precision 1 at 7 thresholds of 10, so AP is 0.7 * 51/101. J: 0.8 of object 1, nothing of object 2.
    truth = [[(1, A), (2, B)]] * 10
    values = agnostic([[(7, A)]] * 8 + [[(8, A)]] * 2, truth)
    assert values == pytest.approx(
        {'AP': 0.7 * 51 / 101, 'AP50': 51 / 101, 'AP75': 51 / 101, 'AR1': 0.35, 'AR10': 0.35}
        | {'HOTA': (0.5 * 0.68) ** 0.5, 'DetA': 0.5, 'AssA': 0.68, 'IDF1': 16 / 30}
        | {'IDSW': 1, 'Frag': 0, 'MOTA': 0.45, 'sMOTSA': 0.45}
        | {'J': 0.4, 'F': 0.4, 'J&F': 0.4}
    )


@pytest.mark.parametrize('seed', range(12))
def test_tracking_metrics_equal_trackeval(seed):
    """Of two videos."""
    pairs = [random_pair(2 * seed + number, length=15) for number in range(2)]
    evaluation = evaluate(
        videos(*[video(results, str(n)) for n, (_, results) in enumerate(pairs)]),
        videos(*[video(truth, str(n)) for n, (truth, _) in enumerate(pairs)]),
    )
    expected = trackeval_oracle.metrics([overlaps(*pair) for pair in pairs])
    assert {name: evaluation.agnostic[name] for name in expected} == pytest.approx(expected)
    assert len(evaluation.switches) == expected['IDSW'] == sum(each.switches for each in evaluation.objects)
    assert sum(each.fragmentations for each in evaluation.objects) == evaluation.agnostic['Frag']


def test_metrics_per_video_and_pooled():
    pairs = [random_pair(seed) for seed in (3, 4)]
    results, truth = (videos(*[video(p[i], str(n)) for n, p in enumerate(pairs)]) for i in (1, 0))
    evaluation = evaluate(results, truth)
    for number, (there, found) in enumerate(pairs):
        assert evaluation.per_video[str(number)] == agnostic(found, there)
    objects = evaluation.objects
    assert evaluation.agnostic['J'] == pytest.approx(np.mean([each.j for each in objects])), (
        'every object counts the same'
    )
    assert evaluation.agnostic['IDSW'] == sum(values['IDSW'] for values in evaluation.per_video.values())


def test_a_video_without_objects_is_right_where_nothing_is_found():
    truth = videos(video([[(1, A)]] * 2, 'some'), video([[]] * 2, 'none'))
    right = evaluate(videos(video([[(1, A)]] * 2, 'some'), video([[]] * 2, 'none')), truth)
    wrong = evaluate(videos(video([[(1, A)]] * 2, 'some'), video([[(5, B)]] * 2, 'none')), truth)
    assert right.per_video['none'] == {name: 0 if name in COUNTS else 1 for name in METRICS}
    assert set(wrong.per_video['none'].values()) == {0}
    assert right.agnostic['MOTA'] == 1 and wrong.agnostic['MOTA'] == 0, 'two false among two true ones'
    assert wrong.agnostic['DetA'] == 0.5


def test_no_true_object_at_all():
    truth = videos([[]] * 3)
    assert evaluate(videos([[]] * 3), truth).agnostic['HOTA'] == 1
    evaluation = evaluate(videos([[(1, A)]] * 3), truth)
    assert set(evaluation.agnostic.values()) == set(evaluation.aware.values()) == {0}
    assert evaluation.coverage.unknown_classes == {'thing': 1}


# --- what happens when ------------------------------------------------------------------------------------------------


def test_runs_switches_and_stretches_of_an_object():
    truth = [[(1, A)], [], [(1, A)], [(1, A)], [(1, A)], []]
    results = [[(7, A)], [], [(7, A)], [(8, A)], [], [(8, B)]]
    evaluation = evaluate(videos(results), videos(truth))
    (track,) = evaluation.objects
    assert track.runs == (MatchedRun(0, 0, 7), MatchedRun(2, 2, 7), MatchedRun(3, 3, 8))
    assert track.visible == ((0, 0), (2, 4)) and track.frames == 4
    assert evaluation.switches == (IdentitySwitch('video', 3, '00003', 1, 7, 8),)
    assert (track.switches, evaluation.lengths) == (1, {'video': 6})


def test_an_id_twice_in_a_frame_is_refused_by_name():
    class Doubled(MemoryVideo):
        def __iter__(self):
            yield frame([(1, A)])
            yield frame([(7, A), (3, B), (7, C)], 1)

    with pytest.raises(ValueError, match="frame '00001' has the track id 7 more than once"):
        evaluate(videos(Doubled('video', [None] * 2)), videos([[(1, A)]] * 2))


def test_masks_without_pixels_are_no_objects():
    empty = np.zeros(SIZE, np.uint8)
    truth = [[(1, A), (2, empty)], [(1, empty), (2, B)]]
    assert agnostic([[(1, A)], [(2, B), (3, empty)]], truth)['HOTA'] == 1
    assert [each.frames for each in evaluate(videos(truth), videos(truth)).objects] == [1, 1]


def test_evaluation_prints_nothing(capfd):
    agnostic(*reversed(random_pair(1)))
    assert capfd.readouterr() == ('', '')


def test_progress_and_json():
    calls = []
    truth, results = random_pair(1, length=7)
    evaluation = evaluate(
        videos(results, settings={'vis_ros': '1', 'live': {'latency_ms': [1.5, 2.5]}}),
        videos(truth),
        on_frame=lambda: calls.append(1),
    )
    assert len(calls) == READINGS * 7
    assert evaluation.latencies_ms == (1.5, 2.5)
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert json.loads(text)['agnostic'] == evaluation.agnostic
    assert [len(row) for row in evaluation.precision.values()] == [101] * 10
    assert list(evaluation.precision) == [f'0.{number}' for number in range(50, 100, 5)]
    assert np.mean(list(evaluation.precision.values())) == pytest.approx(evaluation.agnostic['AP'])


# --- coverage ---------------------------------------------------------------------------------------------------------


def stamped(frames, step=1):
    return video([frame(objects, i, stamp_ns=100 * i) for i, objects in enumerate(frames) if i % step == 0])


def test_missing_frames_count_as_nothing_found_unless_they_are_left_out():
    truth = videos(stamped([[(1, A)]] * 10))
    evaluation = evaluate(videos(stamped([[(7, A)]] * 10, step=2)), truth)
    coverage = evaluation.coverage
    assert (coverage.compared, coverage.missing, coverage.left_out, coverage.unlabeled) == (10, 5, 0, 0)
    assert evaluation.agnostic['MOTA'] == evaluation.agnostic['J'] == 0.5
    assert (
        '5 frames without results, evaluated as if nothing was found (--common-frames leaves them out).'
        in coverage.statements()
    )

    common = evaluate(videos(stamped([[(7, A)]] * 10, step=2)), truth, common_frames=True)
    coverage = common.coverage
    assert (coverage.compared, coverage.missing, coverage.left_out) == (5, 0, 5)
    assert common.agnostic['MOTA'] == common.agnostic['J'] == 1
    assert common.lengths == {'video': 5}
    assert '5 ground truth frames without results left out.' in coverage.statements()
    assert evaluation.truth_digest != common.truth_digest


def test_frames_without_truth_are_counted_and_not_evaluated():
    wrong = [[(7, A)] if i % 2 == 0 else [(8, B)] for i in range(10)]
    evaluation = evaluate(videos(stamped(wrong)), videos(stamped([[(1, A)]] * 10, step=2)))
    assert evaluation.agnostic['HOTA'] == evaluation.agnostic['AP'] == 1
    assert (evaluation.coverage.compared, evaluation.coverage.unlabeled) == (5, 5)
    assert '5 of 10 result frames without ground truth.' in evaluation.coverage.statements()
    assert evaluation.coverage.matched_by == {'video': 'stamp'}


def test_matching_by_position_with_more_frames_on_one_side_is_reported():
    truth = videos(video([frame([(1, A)], i, name=f'truth {i}') for i in range(4)]))
    found = [frame([(1, A)], i, name=f'frame {i}') for i in range(4)]
    for count, warned in ((4, False), (3, True)):
        coverage = evaluate(videos(video(found[:count])), truth).coverage
        assert coverage.matched_by == {'video': 'position'}
        assert (
            any(
                'matched by position' in sentence and 'one side has more' in sentence
                for sentence in coverage.statements()
            )
            is warned
        )


def test_videos_without_results_are_missing_and_videos_without_truth_are_named():
    truth = videos(video([[(1, A)]] * 4, 'a'), video([[(1, A)]] * 6, 'b'))
    evaluation = evaluate(videos(video([[(1, A)]] * 4, 'a'), video([[(1, A)]] * 3, 'x')), truth)
    coverage = evaluation.coverage
    assert evaluation.agnostic['MOTA'] == 0.4 and evaluation.agnostic['J'] == 0.5
    assert set(evaluation.per_video['b'].values()) == {0}
    assert (coverage.videos, coverage.compared, coverage.missing) == (2, 10, 6)
    assert (coverage.unlabeled, coverage.result_frames) == (3, 7)
    assert (coverage.missing_videos, coverage.unlabeled_videos) == (('b',), ('x',))
    assert coverage.statements()[2:] == [
        *(
            'Videos without results: b.',
            '3 of 7 result frames without ground truth.',
            'Videos without ground truth: x.',
        ),
    ]
    common = evaluate(videos(video([[(1, A)]] * 4, 'a'), video([], 'x')), truth, common_frames=True)
    assert (common.coverage.videos, common.coverage.left_out, common.lengths) == (1, 6, {'a': 4})
    assert common.agnostic['MOTA'] == 1


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match='nothing to compare'):
        evaluate(videos([]), videos([[(1, A)]]), common_frames=True)


def test_results_in_ignored_pixels_are_left_out_and_counted():
    truth = videos(video([frame([(1, A)], i, ignored=(14, 0, 30, 10)) for i in range(4)]))
    found = [[(7, A), (8, B)]] * 4
    evaluation = evaluate(videos(found), truth)
    assert evaluation.agnostic['HOTA'] == evaluation.agnostic['AP'] == evaluation.agnostic['MOTA'] == 1
    assert evaluation.coverage.ignored == 4
    assert '4 detections in ignored regions left out.' in evaluation.coverage.statements()
    assert agnostic(found, [[(1, A)]] * 4)['MOTA'] == 0, 'they are false without the region'


@pytest.mark.parametrize(('left', 'ignored'), [(19, 4), (20, 0), (21, 0)])
def test_more_than_half_of_a_result_must_lie_in_ignored_pixels(left, ignored):
    truth = videos(video([frame([(1, A)], i, ignored=(left, 0, 30, 10)) for i in range(4)]))
    evaluation = evaluate(videos([[(7, A), (8, B)]] * 4), truth)
    assert evaluation.coverage.ignored == ignored
    assert evaluation.agnostic['DetA'] == (1 if ignored else 0.5)


def test_detections_in_ignored_pixels_are_no_error_without_true_objects():
    truth = videos(video([frame([], i, ignored=(14, 0, 30, 10)) for i in range(4)]))
    assert evaluate(videos([[(8, B)]] * 4), truth).agnostic['HOTA'] == 1
    assert evaluate(videos([[(8, A)]] * 4), truth).agnostic['HOTA'] == 0


def test_true_objects_in_ignored_pixels_stay():
    truth = videos(video([frame([(1, A)], i, ignored=(0, 0, 10, 9)) for i in range(4)]))
    evaluation = evaluate(videos([[(7, A)]] * 4), truth)
    assert evaluation.coverage.ignored == 0 and evaluation.agnostic['MOTA'] == 1
    assert evaluation.agnostic['J'] == 1, 'of the pixels that are not ignored'


def test_ignored_pixels_do_not_count_for_j():
    truth = videos(video([frame([(1, A)], i, ignored=(10, 0, 14, 10)) for i in range(2)]))
    wide = [[(7, (0, 0, 14, 10))]] * 2
    evaluation = evaluate(videos(wide), truth)
    assert evaluation.agnostic['J'] == evaluation.agnostic['F'] == 1
    assert evaluation.agnostic['sMOTSA'] == pytest.approx(10 / 14), 'as MOTS, which only ignores whole objects'


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_wrong_class_counts_only_where_classes_count():
    truth = videos([[(1, A, 0), (2, B, 1)]] * 4, class_names=CLASSES)
    results = videos([[(7, A, 1), (8, B, 0)]] * 4, class_names=('person', 'car'))
    assert evaluate(results, truth).aware == evaluate(truth, truth).aware, 'by name, whatever their numbers'

    evaluation = evaluate(videos([[(7, A, 0), (8, B, 0)]] * 4, class_names=CLASSES), truth)
    assert evaluation.agnostic['HOTA'] == 1
    # The car is found, and a second one that is none; the person is not.
    assert evaluation.per_class['car']['MOTA'] == 0 and evaluation.per_class['car']['DetA'] == 0.5
    assert set(evaluation.per_class['person'].values()) == {0}
    assert evaluation.aware['DetA'] == 0.25 and evaluation.aware['J'] == 0.5


def test_switches_of_the_classes_are_summed():
    truth = videos([[(1, A, 0), (2, B, 1)]] * 3, class_names=CLASSES)
    results = videos([[(i, A, 0), (i + 10, B, 1)] for i in range(3)], class_names=CLASSES)
    evaluation = evaluate(results, truth)
    assert evaluation.aware['IDSW'] == evaluation.agnostic['IDSW'] == 4
    assert evaluation.per_class['car']['IDSW'] == 2


def test_classes_without_true_objects_are_named_and_counted():
    truth = videos([[(1, A, 0)]] * 4, class_names=CLASSES)
    results = videos([[(7, A, 0), (8, B, 1), (9, C, 2)]] * 4, class_names=(*CLASSES, 'kite'))
    evaluation = evaluate(results, truth)
    assert evaluation.coverage.unknown_classes == {'person': 1, 'kite': 1}
    assert evaluation.aware['HOTA'] == 1 and evaluation.agnostic['DetA'] == pytest.approx(1 / 3)
    assert evaluation.per_class.keys() == {'car'}
    assert evaluation.coverage.statements()[-1] == (
        'Classes (tracks) without ground truth, only in the class-agnostic metrics: kite (1), person (1).'
    )


@pytest.mark.parametrize('side', [0, 1])
def test_without_classes_on_one_side_there_are_only_agnostic_metrics(side):
    both = [videos([[(1, A)]] * 2, has_classes=number != side) for number in range(2)]
    evaluation = evaluate(*both)
    assert (evaluation.aware, evaluation.per_class, evaluation.coverage.unknown_classes) == (None, {}, {})
    assert evaluation.agnostic['HOTA'] == 1


@pytest.mark.parametrize('seed', range(6))
def test_metrics_of_a_class_only_use_its_objects(seed):
    truth, results = random_pair(seed)
    classes = {
        number: [each[2] for objects in results for each in objects if each[0] == number] for number in range(40)
    }
    of_track = {number: int(np.bincount(each).argmax()) for number, each in classes.items() if each}
    results = [[(n, mask, of_track[n], score) for n, mask, _, score in objects] for objects in results]
    evaluation = evaluate(videos(results, class_names=CLASSES), videos(truth, class_names=CLASSES))
    for number, name in enumerate(CLASSES):
        alone = [[[each for each in objects if each[2] == number] for objects in frames] for frames in (results, truth)]
        if name in evaluation.per_class:
            assert evaluation.per_class[name] == agnostic(*alone)
