"""CLEAR matching: hand-made cases, and TrackEval as the oracle."""

import re

import numpy as np
import pytest
from helpers import trackeval_oracle
from helpers.annotated_memory import overlaps, random_pair
from trackeval.metrics import CLEAR

from vis_ros.evaluation.evaluation import MatchedRun
from vis_ros.evaluation.metrics.clear import ClearMatching, IdentityChange

A, B = (0, 0, 10, 10), (15, 0, 25, 10)


def follow(truth, results):
    matching = ClearMatching()
    video = overlaps(truth, results)
    matches = [matching.add(f.position, f.truth_ids, f.result_ids, f.iou) for f in video.frames]
    return matching, matches


def switches(truth, results):
    return len(follow(truth, results)[0].switches)


def test_runs_and_switches_of_two_numbers_that_are_exchanged():
    right, wrong = [(7, A), (9, B)], [(9, A), (7, B)]
    matching, _ = follow([[(1, A), (2, B)]] * 4, [right, right, wrong, wrong])
    assert matching.switches == [IdentityChange(2, 1, 7, 9), IdentityChange(2, 2, 9, 7)]
    assert matching.runs == {
        1: [MatchedRun(0, 1, 7), MatchedRun(2, 3, 9)],
        2: [MatchedRun(0, 1, 9), MatchedRun(2, 3, 7)],
    }
    assert switches([[(1, A), (2, B)]] * 3, [right, wrong, right]) == 4


def test_an_object_that_comes_back_with_a_new_number_is_one_switch_and_with_its_own_none():
    assert switches([[(1, A)], [], [(1, A)]], [[(7, A)], [], [(8, A)]]) == 1
    assert switches([[(1, A)]] * 3, [[(7, A)], [], [(7, A)]]) == 0


def test_a_gap_ends_a_run_and_is_a_fragmentation():
    matching, _ = follow([[(1, A), (2, B)]] * 3, [[(7, A), (9, B)], [(9, B)], [(7, A), (9, B)]])
    assert matching.runs[1] == [MatchedRun(0, 0, 7), MatchedRun(2, 2, 7)]
    assert matching.fragmentations == {1: 1, 2: 0}
    matching, _ = follow([[(1, A)]] * 6, [[], [(7, A)], [], [], [(7, A)], []])
    assert matching.fragmentations == {1: 1}, (
        'also where nothing at all is found; neither before the first find nor after'
    )


def test_an_object_that_leaves_the_image_is_not_lost():
    matching, _ = follow([[(1, A), (2, B)], [(2, B)], [(1, A), (2, B)]], [[(7, A), (9, B)], [(9, B)], [(7, A), (9, B)]])
    assert matching.runs[1] == [MatchedRun(0, 0, 7), MatchedRun(2, 2, 7)]
    assert matching.fragmentations == {1: 0, 2: 0}
    away_and_lost, _ = follow([[(1, A)], [], [(1, A)], [(1, A)]], [[(7, A)], [], [], [(7, A)]])
    assert away_and_lost.fragmentations == {1: 1}


def test_half_of_the_union_is_a_match_and_less_is_none():
    assert follow([[(1, A)]], [[(7, (0, 0, 10, 5))]])[0].runs == {1: [MatchedRun(0, 0, 7)]}
    matching, ((rows, columns),) = follow([[(1, A)]], [[(7, (0, 0, 10, 4))]])
    assert not matching.runs and not len(rows) and not len(columns)


def test_an_object_keeps_its_number_even_where_another_one_fits_better():
    matching, _ = follow([[(1, A)]] * 2, [[(7, A)], [(8, A), (7, (0, 0, 10, 6))]])
    assert matching.runs == {1: [MatchedRun(0, 1, 7)]}


def test_an_object_keeps_its_number_over_a_frame_without_results_as_in_trackeval():
    truth, results = [[(1, A)]] * 3, [[(7, A)], [], [(8, A), (7, (0, 0, 10, 6))]]
    assert switches(truth, results) == trackeval(truth, results)['IDSW'] == 0
    truth, results = [[(1, A), (2, B)]] * 3, [[(7, A)], [(9, B)], [(8, A), (7, (0, 0, 10, 6))]]
    assert switches(truth, results) == trackeval(truth, results)['IDSW'] == 1, 'not over one with results'


def test_a_report_without_objects():
    matching, _ = follow([[], []], [[], [(7, A)]])
    assert (matching.runs, matching.switches, matching.fragmentations) == ({}, [], {})


@pytest.mark.parametrize('seed', range(60))
def test_matches_and_switches_equal_trackeval(seed):
    truth, results = random_pair(seed, length=25)
    matching, matches = follow(truth, results)
    counts = trackeval(truth, results)
    assert len(matching.switches) == counts['IDSW']
    assert sum(len(rows) for rows, _ in matches) == counts['CLR_TP']
    assert sum(run.last + 1 - run.first for runs in matching.runs.values() for run in runs) == counts['CLR_TP']


@pytest.mark.parametrize('seed', range(60))
def test_fragmentations_are_the_gaps_in_the_frames_of_an_object(seed):
    truth, results = random_pair(seed, length=25)
    matching, matches = follow(truth, results)
    fates = {}
    for objects, (rows, _) in zip(truth, matches, strict=True):
        for row, (number, *_) in enumerate(objects):
            fates[number] = fates.get(number, '') + ('found' if row in rows else '-')
    gaps = {number: len(re.findall('-+', fate.strip('-'))) for number, fate in fates.items() if 'found' in fate}
    assert matching.fragmentations == gaps


@pytest.mark.parametrize('seed', range(60))
def test_fragmentations_equal_trackeval_if_objects_stay_and_something_is_found_in_every_frame(seed):
    truth, results = random_pair(seed, length=25, always_visible=True)
    results = [found or [(99, (29, 19, 30, 20))] for found in results]
    matching, _ = follow(truth, results)
    assert matching.fragmentations.total() == trackeval(truth, results)['Frag']


def trackeval(truth, results):
    return trackeval_oracle.count(overlaps(truth, results))['CLEAR']


def test_the_random_cases_have_something_to_count():
    counts = [trackeval(*random_pair(seed, length=25)) for seed in range(60)]
    assert min(np.sum([[each['IDSW'], each['Frag'], each['CLR_FP'], each['CLR_FN']] for each in counts], 0)) > 50
    assert CLEAR({'PRINT_CONFIG': False}).threshold == 0.5
