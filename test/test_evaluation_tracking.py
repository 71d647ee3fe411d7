"""HOTA, Identity and CLEAR: cases worked out by hand, and TrackEval on random videos, to 1e-12."""

import numpy as np
import pytest
from helpers import trackeval_oracle
from helpers.annotated_memory import overlaps, random_pair

from vis_ros.evaluation.metrics.hota import LOCALIZATION_THRESHOLDS, count_hota, hota
from vis_ros.evaluation.metrics.identity import count_identity, idf1
from vis_ros.evaluation.metrics.mask_overlaps import FrameOverlaps, VideoOverlaps
from vis_ros.evaluation.metrics.tracking_measures import count_tracking, tracking_metrics

A, B = (0, 0, 10, 10), (15, 0, 25, 10)


def hota_of(truth, results):
    return hota([count_hota(overlaps(truth, results))])


def idf1_of(truth, results):
    return idf1([count_identity(overlaps(truth, results))])


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_perfect_results():
    truth = [[(1, A), (2, B)], [(2, B)], []]
    assert hota_of(truth, truth) == {'HOTA': 1, 'DetA': 1, 'AssA': 1}
    assert idf1_of(truth, truth) == 1


def test_nothing_found_or_nothing_there_is_0():
    truth = [[(1, A), (2, B)]] * 2
    for pair in ((truth, [[], []]), ([[], []], truth), ([[], []], [[], []])):
        assert hota_of(*pair) == {'HOTA': 0, 'DetA': 0, 'AssA': 0}
        assert idf1_of(*pair) == 0


def test_tracks_exchanged_half_way():
    # All 20 detections match. Each match belongs to a pair of tracks that agrees in 5 of 15 frames: A(c) = 1/3.
    exchanged = [[(7, A), (9, B)]] * 5 + [[(9, A), (7, B)]] * 5
    found = hota_of([[(1, A), (2, B)]] * 10, exchanged)
    assert found == pytest.approx({'HOTA': (1 / 3) ** 0.5, 'DetA': 1, 'AssA': 1 / 3})
    assert idf1_of([[(1, A), (2, B)]] * 10, exchanged) == 0.5


def test_a_match_counts_at_the_thresholds_that_its_iou_reaches():
    # IoU 0.6: a match at the 12 thresholds 0.05 to 0.60 of 19; a miss and a false positive at the others.
    found = hota_of([[(1, A)]], [[(7, (0, 0, 10, 6))]])
    assert found == pytest.approx(dict.fromkeys(('HOTA', 'DetA', 'AssA'), 12 / 19))
    counts = count_hota(overlaps([[(1, A)]], [[(7, (0, 0, 10, 6))]]))
    assert counts.true_positives.tolist() == [1] * 12 + [0] * 7
    assert LOCALIZATION_THRESHOLDS[11] == 0.6 and len(LOCALIZATION_THRESHOLDS) == 19


def test_the_track_that_fits_over_the_whole_video_wins_a_frame():
    # Track 7 is on the object in 9 frames. In the tenth it overlaps less than track 8, but it is still matched.
    results = [[(7, A)]] * 9 + [[(7, (0, 0, 10, 6)), (8, (0, 0, 10, 7))]]
    counts = count_hota(overlaps([[(1, A)]] * 10, results))
    assert counts.true_positives.tolist() == [10] * 12 + [9] * 7
    assert counts.association[0] == pytest.approx(10), 'all matches are of track 7'


def test_videos_are_pooled():
    good, bad = overlaps([[(1, A)]] * 3, [[(7, A)]] * 3), overlaps([[(1, A)]], [[(7, B)]])
    assert hota([count_hota(good), count_hota(bad)])['DetA'] == pytest.approx(3 / 5)
    assert idf1([count_identity(good), count_identity(bad)]) == pytest.approx(6 / 8)


# --- TrackEval --------------------------------------------------------------------------------------------------------


def random_overlaps(seed):
    """One to three videos; some have no true object, no detection, or neither."""
    random = np.random.default_rng(seed)
    videos = []
    for number in range(int(random.integers(1, 4))):
        truth, results = random_pair(1000 * number + seed, length=int(random.integers(1, 25)))
        kind = random.choice(['both', 'no truth', 'no results', 'neither'], p=[0.7, 0.1, 0.15, 0.05])
        truth = [[]] * len(truth) if kind in ('no truth', 'neither') else truth
        results = [[]] * len(results) if kind in ('no results', 'neither') else results
        videos.append(overlaps(truth, results))
    return videos


def tied_overlaps(seed):
    """A video in which many pairs have the same IoU, half of them at a threshold, so that assignments are ambiguous."""
    random = np.random.default_rng(seed)
    frames = []
    for position in range(int(random.integers(1, 12))):
        truth_ids = np.sort(random.choice(6, int(random.integers(0, 5)), replace=False))
        result_ids = np.sort(random.choice(6, int(random.integers(0, 5)), replace=False))
        iou = random.choice([0.0, 0.25, 0.5, 0.55, 0.95, 1.0, 1 / 3], (len(truth_ids), len(result_ids)))
        ones = [np.ones(len(ids), np.int64) for ids in (truth_ids, result_ids)]
        ignored = np.zeros(len(result_ids))
        frames.append(FrameOverlaps(position, str(position), truth_ids, ones[0], result_ids, ones[1], iou, ignored))
    return [VideoOverlaps(len(frames), frames, frames)]


@pytest.mark.parametrize('seed', range(200))
def test_random_videos_score_as_in_trackeval(seed):
    for videos in (random_overlaps(seed), tied_overlaps(seed)):
        found = tracking_metrics([count_tracking(video) for video in videos])
        expected = trackeval_oracle.metrics(videos)
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-12)


def test_the_random_videos_have_something_to_measure():
    scores = [trackeval_oracle.metrics(random_overlaps(seed)) for seed in range(60)]
    assert len({round(each['HOTA'], 9) for each in scores}) > 40
    assert sum(each['IDSW'] for each in scores) > 50
    assert any(not len(video.truth_ids) and len(video.result_ids) for s in range(200) for video in random_overlaps(s))
    assert any(len(video.truth_ids) and not len(video.result_ids) for s in range(200) for video in random_overlaps(s))
