"""benchmarks.association_accuracy: its clips, and its counts on a hand-made clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.association_accuracy import CONFIGS, associate, combine, count, single_object
from benchmarks.association_clips import CLIPS, RATE, SCENARIOS, SHAPE_CLASS, SIZE, Found, StoredFrame, make_video
from vis_ros.evaluation.metrics.mask_overlaps import FrameOverlaps
from vis_ros.synthetic.coco_images import SUPERCATEGORIES
from vis_ros.synthetic.motion import ObjectMotion
from vis_ros.synthetic.scene import Pillar, ScriptedMotion
from vis_ros.tracking.association_config import AssociationConfig


def test_every_scenario_is_halved_and_no_video_is_in_both_halves() -> None:
    assert len(CLIPS) == 40
    halves = Counter((clip.scenario, clip.half) for clip in CLIPS)
    assert all(
        halves[name, half] == number // 2 for name, (number, _) in SCENARIOS.items() for half in ('tune', 'report')
    )
    assert len({clip.seed for clip in CLIPS}) == len({clip.name for clip in CLIPS}) == 40
    assert Counter(clip.half for clip in CLIPS if clip.shapes) == {'tune': 6, 'report': 6}


def test_eighty_frames_of_each_clip_are_seen_at_their_rate() -> None:
    for clip in CLIPS:
        steps = np.diff(clip.times())
        assert len(steps) == 79 and clip.times()[0] == 0
        if clip.scenario == 'dropped':
            assert set(steps[steps > 1]) <= set(range(2, 13)) and 4 < np.count_nonzero(steps > 1) < 24
        else:
            assert set(RATE / steps) == {5.0 if clip.scenario == 'low_rate' else 10.0}


def test_the_class_of_shapes_follows_those_of_real_objects() -> None:
    assert len(SUPERCATEGORIES) == SHAPE_CLASS


@pytest.mark.parametrize('scenario', ['leaving', 'occlusion'])
def test_objects_leave_and_hide_as_long_as_they_should(scenario: str) -> None:
    durations = []
    for clip in CLIPS:
        if clip.scenario != scenario or not clip.shapes:
            continue
        video = make_video(clip, None)  # type: ignore[arg-type]  # shapes need no data set
        assert video.frame(0).image.shape[:2] == SIZE
        for actor in video.moving_objects:
            if isinstance(actor.motion, ObjectMotion):
                durations += [(away.end - away.begin) / RATE for away in actor.motion.absences]
            elif isinstance(actor.motion, ScriptedMotion) and not isinstance(actor.source, Pillar):
                durations.append((actor.motion.times[2] - actor.motion.times[1]) / RATE)
    longest = 4 if scenario == 'leaving' else 3
    assert len(durations) > 2 and min(durations) > 0.1 and longest / 3 < max(durations) <= longest


# --- counts ---------------------------------------------------------------------------------------------------------


def found(iou: Sequence[Sequence[float]], scores: Sequence[float]) -> Found:
    """N detections of 100 pixels each with these IoUs (N, T); detection i is at x = 50 i and has the embedding i."""
    matrix = np.array(iou, np.float64)
    count, truth = matrix.shape
    overlaps = FrameOverlaps(
        position=0,
        name='',
        truth_ids=np.arange(truth, dtype=np.int64),
        truth_areas=np.full(truth, 100, np.int64),
        result_ids=np.arange(count, dtype=np.int64),
        result_areas=np.full(count, 100, np.int64),
        iou=matrix.T,
        ignored=np.zeros(count),
    )
    boxes = np.array([[50 * i, 0, 50 * i + 10, 10] for i in range(count)], np.float32)
    looks = 6 * np.eye(count, 4, dtype=np.float32)
    labels = np.zeros(count, np.int32)
    return Found(boxes, np.array(scores, np.float32), labels, looks, overlaps, 100 * np.eye(count, dtype=np.int64))


def clip_of(frames: Sequence[Found]) -> list[StoredFrame]:
    return [StoredFrame(0.1 * index, frame, frame) for index, frame in enumerate(frames)]


TWO = found([[1, 0], [0, 1]], [0.9, 0.8])


def test_perfect_track_ids_have_perfect_results() -> None:
    frames = clip_of([TWO] * 5)
    track_ids = associate(frames, AssociationConfig(), 'network', 0.5)
    assert [given.tolist() for given in track_ids] == [[1, 2]] * 5
    figures = combine([count(frames, track_ids, 'network')])
    assert figures == pytest.approx({'HOTA': 1, 'DetA': 1, 'AssA': 1, 'IDF1': 1, 'IDSW': 0, 'AP': 1})


def test_swapped_track_ids_are_two_switches() -> None:
    frames = clip_of([TWO] * 4)
    track_ids = [np.array(given) for given in ([1, 2], [1, 2], [2, 1], [2, 1])]
    figures = combine([count(frames, track_ids, 'perfect')])
    assert figures['IDSW'] == 2 and figures['DetA'] == pytest.approx(1)
    assert figures['AssA'] == pytest.approx(1 / 3) and figures['IDF1'] == pytest.approx(0.5)


def test_the_last_of_two_detections_with_one_id_counts() -> None:
    both_on_one = found([[1], [0.6]], [0.9, 0.8])
    track_ids = [np.array([1, 1])]
    counts = count(clip_of([both_on_one]), track_ids, 'network')
    assert counts.tracks.scores.tolist() == pytest.approx([0.8])
    assert counts.tracks.found[:, 0].tolist() == [threshold <= 0.6 for threshold in np.arange(0.5, 0.96, 0.05).round(2)]


def test_weak_detections_are_left_out_below_the_threshold() -> None:
    frames = clip_of([TWO])
    assert associate(frames, CONFIGS['paper'], 'network', 0.85)[0].tolist() == [1, 0]


def test_a_single_object_is_scored_by_its_best_track() -> None:
    one = found([[0.8], [0.6]], [0.9, 0.8])
    frames = clip_of([one] * 4)
    track_ids = [np.array(given) for given in ([1, 2], [1, 2], [0, 1], [0, 0])]
    assert single_object(frames, track_ids) == (pytest.approx((0.8 + 0.8 + 0.6) / 4), 0)
    track_ids = [np.array(given) for given in ([1, 2], [0, 2], [3, 2], [2, 3])]
    assert single_object(frames, track_ids) == (pytest.approx((0.6 + 0.6 + 0.6 + 0.8) / 4), 3)


def test_additions_are_measured_one_by_one() -> None:
    default, plain = CONFIGS['default'], CONFIGS['plain one_to_one']
    differing = {name for name in vars(default) if getattr(default, name) != getattr(plain, name)}
    assert differing == {name.removeprefix('default - ') for name in CONFIGS if name.startswith('default - ')}
    assert default == AssociationConfig()
