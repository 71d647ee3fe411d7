"""Average precision of tracks: cases by hand, brute force from the definition, and TrackEval's TrackMAP."""

import contextlib
import io

import numpy as np
import pytest
from helpers.annotated_memory import overlaps, random_pair
from trackeval.metrics import TrackMAP

from vis_ros.datasets.coco_rle import encode
from vis_ros.evaluation.metrics.average_precision import (
    IOU_THRESHOLDS,
    RECALLS,
    average_precision,
    match_tracks,
    precision_at_recalls,
    track_iou,
)

A, B = (0, 0, 10, 10), (15, 0, 25, 10)


def figures(*videos):
    """Of (truth, results, score of each identity)."""
    return average_precision([match_tracks(overlaps(truth, results), scores) for truth, results, scores in videos])


def test_a_perfect_result():
    objects = [[(1, A), (2, B)]] * 3
    # Only one of the two objects can be among the one best track of the video.
    assert figures((objects, objects, {1: 0.9, 2: 0.8})) == {'AP': 1, 'AP50': 1, 'AP75': 1, 'AR1': 0.5, 'AR10': 1}


def test_no_result():
    assert set(figures(([[(1, A)]] * 3, [[]] * 3, {})).values()) == {0}


def test_overlap_in_time_counts_as_overlap_in_space():
    # The object is in 10 frames, the track in 7 of them and is then lost: 7/10, at or above 5 thresholds of 10.
    truth, results = [[(1, A)]] * 10, [[(5, A)]] * 7 + [[]] * 3
    assert track_iou(overlaps(truth, results))[0] == pytest.approx(0.7)
    assert figures((truth, results, {5: 1.0})) == {'AP': 0.5, 'AP50': 1, 'AP75': 0, 'AR1': 0.5, 'AR10': 0.5}


def test_a_false_track_with_a_higher_score_halves_the_precision_and_one_with_a_lower_does_not():
    truth, results = [[(1, A)]] * 4, [[(5, A), (6, B)]] * 4
    assert figures((truth, results, {5: 0.5, 6: 0.9}))['AP'] == pytest.approx(0.5)
    assert figures((truth, results, {5: 0.9, 6: 0.5}))['AP'] == 1


def test_two_tracks_on_one_object_and_a_second_object_that_is_missed():
    # Scores descending: found, false. Recall stays at 1/2: precision 1 at recalls 0 to 0.5 (51 of 101), else 0.
    truth, results = [[(1, A), (2, B)]] * 2, [[(5, A), (6, (0, 0, 10, 9))]] * 2
    assert figures((truth, results, {5: 0.9, 6: 0.8}))['AP'] == pytest.approx(51 / 101)


def test_scores_compare_over_videos():
    # The false track of the second video is between the two true ones: precisions 1, 1/2, 2/3; 2/3 beyond recall 1/2.
    first = ([[(1, A)]], [[(5, A)]], {5: 0.9})
    second = ([[(1, A)]], [[(5, A), (6, B)]], {5: 0.3, 6: 0.6})
    assert figures(first, second)['AP'] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_at_most_a_hundred_tracks_of_a_video_count():
    truth, results = [[(1, A)]], [[(number, B if number else A) for number in range(101)]]
    scores = {number: number + 1.0 for number in range(101)}
    assert figures((truth, results, scores))['AR10'] == 0
    assert figures((truth, results, scores))['AP'] == 0, 'the true one has the lowest score of 101'
    assert figures((truth, results, scores | {0: 2.5}))['AP'] > 0


def test_a_track_in_ignored_pixels_counts_neither_way():
    truth, results = overlaps([[(1, A)]], [[(5, A), (6, B)]]), {5: 0.5, 6: 0.9}
    frame = truth.frames[0]
    frame.ignored[1] = 0.72
    matches = match_tracks(truth, results)
    # 0.72 of the false track are ignored: below the threshold 0.75 it is left out, and counts as false from there on.
    assert matches.ignored.tolist() == [[threshold < 0.75, False] for threshold in IOU_THRESHOLDS]
    assert average_precision([matches])['AP'] == pytest.approx((5 * 1 + 5 * 0.5) / 10)


def test_a_true_object_is_not_ignored():
    video = overlaps([[(1, A)]], [[(5, A)]])
    video.frames[0].ignored[0] = 1.0
    assert average_precision([match_tracks(video, {5: 1.0})])['AP'] == 1


# --- brute force ------------------------------------------------------------------------------------------------------


def masks_of(frames):
    """Identity -> (frames, H, W) masks."""
    ids = {number for objects in frames for number, *_ in objects}
    empty = np.zeros((20, 30), bool)
    return {
        each: np.stack([next((mask for number, mask, *_ in objects if number == each), empty) for objects in frames])
        > 0
        for each in sorted(ids)
    }


def brute_force(videos):
    """AP from its definition, with plain loops over masks in space and time."""
    precisions = []
    for threshold in IOU_THRESHOLDS:
        decisions, total = [], 0
        for truth, results, scores in videos:
            objects, tracks = masks_of(truth), masks_of(results)
            total += len(objects)
            for track in sorted(tracks, key=lambda number: (-scores[number], number)):
                iou = {o: (m & tracks[track]).sum() / (m | tracks[track]).sum() for o, m in objects.items()}
                best = max(iou, key=iou.get, default=None)
                hit = best is not None and iou[best] >= threshold
                if hit:
                    del objects[best]
                decisions.append((scores[track], hit))
        decisions.sort(key=lambda each: -each[0])
        points = [
            (sum(hit for _, hit in decisions[:n]) / total, sum(hit for _, hit in decisions[:n]) / n)
            for n in range(1, len(decisions) + 1)
        ]
        precisions.append([max((p for r, p in points if r >= recall), default=0) for recall in RECALLS])
    return np.array(precisions)


def random_videos(seed):
    videos = []
    for number in range(3):
        truth, results = random_pair(100 * seed + number, length=5)
        ids = sorted({each[0] for objects in results for each in objects})
        scores = np.random.default_rng(seed * 7 + number).permutation(len(ids) * 3)[: len(ids)] / 100 + number / 1000
        videos.append((truth, results, dict(zip(ids, scores.tolist(), strict=True))))
    return videos


@pytest.mark.parametrize('seed', range(15))
def test_precision_is_that_of_the_definition(seed):
    videos = random_videos(seed)
    matches = [match_tracks(overlaps(truth, results), scores) for truth, results, scores in videos]
    np.testing.assert_allclose(precision_at_recalls(matches), brute_force(videos))


# --- TrackEval --------------------------------------------------------------------------------------------------------


def track_map(videos, most):
    """TrackEval's AP and AR for each threshold; identities from 1, because it takes an identity 0 for none."""
    with contextlib.redirect_stdout(io.StringIO()):
        metric = TrackMAP(
            {
                'USE_AREA_RANGES': False,
                'USE_TIME_RANGES': False,
                'IOU_THRESHOLDS': IOU_THRESHOLDS,
                'MAX_DETECTIONS': most,
            }
        )
    sequences = {}
    for number, (truth, results, scores) in enumerate(videos):
        objects, tracks = masks_of(truth), masks_of(results)
        order = sorted(tracks, key=lambda track: (-scores[track], track))
        sequences[number] = metric.eval_sequence(
            {
                'gt_track_ids': list(range(1, len(objects) + 1)),
                'dt_track_ids': list(range(1, len(tracks) + 1)),
                'gt_tracks': [coded(masks) for masks in objects.values()],
                'dt_tracks': [coded(tracks[track]) for track in order],
                'gt_track_iscrowd': [0] * len(objects),
                'dt_track_scores': np.array([scores[track] for track in order]),
                'iou_type': 'mask',
            }
        )
    combined = metric.combine_sequences(sequences)
    return combined['AP_all'], combined['AR_all'], combined['precision'][:, :, 0]


def coded(masks):
    return {number: encode(mask) for number, mask in enumerate(masks) if mask.any()}


@pytest.mark.parametrize('seed', range(15, 35))
def test_metrics_equal_trackeval(seed):
    videos = random_videos(seed)
    matches = [match_tracks(overlaps(truth, results), scores) for truth, results, scores in videos]
    own = average_precision(matches)
    precision, _, at_recalls = track_map(videos, 100)
    assert own['AP'] == pytest.approx(precision.mean())
    assert (own['AP50'], own['AP75']) == pytest.approx((precision[0], precision[5]))
    np.testing.assert_allclose(precision_at_recalls(matches), at_recalls)
    for most in (1, 10):
        assert own[f'AR{most}'] == pytest.approx(track_map(videos, most)[1].mean())


def test_the_random_videos_have_something_to_measure():
    values = [track_map(random_videos(seed), 100)[0].mean() for seed in range(15, 35)]
    assert len({round(each, 6) for each in values}) > 15
