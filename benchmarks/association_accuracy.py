"""How well the rules and settings of association keep identities, on stored detections.

    python -m benchmarks.association_clips CLIPS ...                 # once, minutes
    python -m benchmarks.association_accuracy CLIPS [--half tune] [--json FILE]

Each row has one association config on the same detections: class-agnostic HOTA, DetA, AssA, IDF1, identity switches
(CLEAR) and track AP, by the evaluation of this package. Detections in ignored pixels do not count. The published rules
can give two detections of a frame the same id; only the last of them counts, as in the official code. For DAVIS
sequences, J is the mean IoU between the object and the track that covers it best.
"""

from __future__ import annotations

import os

os.environ.update({f'{library}_NUM_THREADS': '1' for library in ('OPENBLAS', 'MKL', 'OMP')})  # before numpy is loaded

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import vis_ros
from benchmarks.association_clips import CLIPS, SCENARIOS, StoredFrame, load
from vis_ros.evaluation.metrics.average_precision import TrackMatches, average_precision, match_tracks
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, without_ignored_results
from vis_ros.evaluation.metrics.tracking_measures import TrackingCounts, count_tracking, tracking_metrics
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.identity_memory import IdentityMemory
from vis_ros.tracking.published_memory import PublishedConfig, PublishedMemory

Config = AssociationConfig | PublishedConfig
Source = Literal['network', 'perfect']
SCORE_THRESHOLD = 0.3
"""Score threshold of the packaged network."""
MOST_DETECTIONS = 20

DEFAULT = AssociationConfig()
BEFORE = {
    'weights': (1.0, 2.0, 10.0),
    'new_track_iou': 0.5,
    'confident_score': 0.0,
    'memory_rate': 1.0,
    'motion_s': 0.0,
}
"""The settings of 'one_to_one' without its additions to the paper."""

CONFIGS: dict[str, Config] = {
    'mmtracking': PublishedConfig(rule='mmtracking'),
    'paper': PublishedConfig(rule='paper'),
    'plain one_to_one': replace(DEFAULT, **BEFORE),  # type: ignore[arg-type]
    **{f'plain + {name}': replace(DEFAULT, **{**BEFORE, name: getattr(DEFAULT, name)}) for name in BEFORE},
    'default': DEFAULT,
    **{f'default - {name}': replace(DEFAULT, **{name: value}) for name, value in BEFORE.items()},  # type: ignore[arg-type]
    'new_track_score 0.5': replace(DEFAULT, new_track_score=0.5),
    'new_track_score 0.7': replace(DEFAULT, new_track_score=0.7),
    'new_track_score 0.8': replace(DEFAULT, new_track_score=0.8),
    'max_age_s 3': replace(DEFAULT, max_age_s=3.0),
    'max_age_s 30': replace(DEFAULT, max_age_s=30.0),
}
"""Row of the table -> settings. 'plain + X' has one addition, 'default - X' has all but one."""

FIGURES = ('HOTA', 'DetA', 'AssA', 'IDF1', 'IDSW', 'AP')


@dataclass(frozen=True, eq=False)
class ClipCounts:
    """ClipCounts of one clip, for `combine`."""

    tracking: TrackingCounts
    tracks: TrackMatches


def associate(
    frames: Sequence[StoredFrame], config: Config, source: Source, threshold: float
) -> list[NDArray[np.int64]]:
    """Track id of each detection of each frame; 0 without a track and for detections below the score threshold."""
    memory = PublishedMemory(config) if isinstance(config, PublishedConfig) else IdentityMemory(config)
    track_ids = []
    for frame in frames:
        found = getattr(frame, source)
        rows = np.flatnonzero(found.scores >= threshold)[:MOST_DETECTIONS]
        given = np.zeros(len(found.scores), np.int64)
        tracks = memory.update(
            found.boxes[rows], found.scores[rows], found.class_ids[rows], found.embeddings[rows], frame.stamp
        )
        given[rows] = tracks.track_ids
        track_ids.append(given)
    return track_ids


def count(frames: Sequence[StoredFrame], track_ids: Sequence[NDArray[np.int64]], source: Source) -> ClipCounts:
    """Compare the track ids of one clip with the ground truth."""
    overlaps = []
    scores: dict[int, list[float]] = defaultdict(list)
    for position, (frame, given) in enumerate(zip(frames, track_ids, strict=True)):
        found = getattr(frame, source)
        last = {track_id: row for row, track_id in enumerate(given.tolist()) if track_id}
        for track_id, row in last.items():
            scores[track_id].append(float(found.scores[row]))
        kept = np.isin(np.arange(len(given)), list(last.values()))
        named = replace(found.overlaps, position=position, result_ids=given)
        overlaps.append(named.only(np.ones(len(named.truth_ids), bool), kept))
    video = VideoOverlaps(len(frames), overlaps, overlaps)
    means = {track_id: float(np.mean(values)) for track_id, values in scores.items()}
    return ClipCounts(count_tracking(without_ignored_results(video)), match_tracks(video, means))


def combine(clips: Sequence[ClipCounts]) -> dict[str, float]:
    """FIGURES of several clips."""
    values = {
        **tracking_metrics([clip.tracking for clip in clips]),
        **average_precision([clip.tracks for clip in clips]),
    }
    return {name: values[name] for name in FIGURES}


def single_object(frames: Sequence[StoredFrame], track_ids: Sequence[NDArray[np.int64]]) -> tuple[float, int]:
    """J and switches of a clip with one object, as benchmarks/davis.py measures them."""
    sums: dict[int, float] = defaultdict(float)
    switches = last = 0
    for frame, given in zip(frames, track_ids, strict=True):
        iou = frame.network.overlaps.iou
        if not len(iou) or not given.any():
            continue
        overlaps = np.where(given > 0, iou[0], 0)
        for track_id in set(given[given > 0].tolist()):
            sums[track_id] += float(overlaps[given == track_id].max())
        if overlaps.max() >= 0.5:
            current = int(given[overlaps.argmax()])
            switches += last not in (0, current)
            last = current
    return max(sums.values(), default=0.0) / len(frames), switches


def measure(
    folder: Path, half: str, configs: Mapping[str, Config], threshold: float = SCORE_THRESHOLD
) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> 'all', each scenario, 'perfect', and 'davis' if it is stored -> FIGURES."""
    clips = {clip: load(folder / f'{clip.name}.pickle') for clip in CLIPS if clip.half == half}
    davis = [load(path) for path in sorted(folder.glob(f'{half}_davis_*.pickle'))]
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, config in configs.items():
        counts = {
            source: {
                clip: count(frames, associate(frames, config, source, threshold), source)
                for clip, frames in clips.items()
            }
            for source in ('network', 'perfect')
        }
        row = {'all': combine(list(counts['network'].values()))}
        for scenario in SCENARIOS:
            chosen = [counts['network'][clip] for clip in clips if clip.scenario == scenario]
            row[scenario] = combine(chosen)
        row['perfect'] = combine(list(counts['perfect'].values()))
        if davis:
            followed = [single_object(frames, associate(frames, config, 'network', threshold)) for frames in davis]
            j, switches = np.mean(followed, axis=0).tolist()
            row['davis'] = {'J': j, 'switches a sequence': switches}
        table[name] = row
        figures = '  '.join(
            f'{key} {value:4d}' if key == 'IDSW' else f'{key} {value * 100:5.1f}' for key, value in row['all'].items()
        )
        print(f'{name:26s} {figures}', flush=True)
    return table


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('clips', type=Path, help='folder that association_clips has written')
    parser.add_argument('--half', choices=('tune', 'report'), default='tune')
    parser.add_argument('--score-threshold', type=float, default=SCORE_THRESHOLD)
    parser.add_argument('--json', type=Path, help='also write all results to this file')
    arguments = parser.parse_args()
    table = measure(arguments.clips, arguments.half, CONFIGS, arguments.score_threshold)
    if arguments.json:
        record = {
            'vis_ros': vis_ros.__version__,
            'half': arguments.half,
            'score_threshold': arguments.score_threshold,
            'clips': {clip.name: clip.seed for clip in CLIPS if clip.half == arguments.half},
            'settings': {name: {'rule': 'one_to_one', **vars(config)} for name, config in CONFIGS.items()},
            'figures': table,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__':
    main()
