"""Replay a labeled recording with two values of a setting, and say which one keeps track ids better.

python examples/compare_two_settings.py JPEGImages/ annotations.json new_track_score 0.6 0.4
"""

import sys

import vis_ros
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.evaluation.compare_results import compare
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.recordings.opening import open_recordings
from vis_ros.replay.offline.offline_replay import replay


def main(recording: str, labels: str, setting: str, a: str, b: str) -> None:
    truth = open_annotations(labels)
    kind = type(getattr(vis_ros.Settings(), setting))  # int, float, str
    evaluations = []
    for value in (a, b):
        out = f'{setting}_{value}'  # with overlay.mp4 to look at
        replay(open_recordings(recording), vis_ros.load('demo', **{setting: kind(value)}), out)
        evaluations.append(evaluate(open_annotations(out, truth=truth), truth))
    comparison = compare(*evaluations)
    for figure in comparison.agnostic:
        print(f'{figure.metric}: {figure.a:.3f} with {a}, {figure.b:.3f} with {b}')
    for loss in comparison.lost_identities:  # where one kept the id of an object and the other lost it
        kept_by = b if loss.lost_in == 'a' else a
        print(f'{loss.video}, frames {loss.first} to {loss.last}: object {loss.object_id} is kept by {kept_by} only')


if __name__ == '__main__':
    main(*sys.argv[1:])
