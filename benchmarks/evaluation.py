"""Measure the packaged weights against ground truth, and write the results to doc/results.

    python -m benchmarks.evaluation synthetic
    python -m benchmarks.evaluation davis DAVIS_FOLDER

This does what the commands `vis-ros data synth`, `vis-ros replay` and `vis-ros evaluate` do. test/test_results.py
measures the synthetic set again and compares.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vis_ros
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.recordings.opening import open_recordings
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.synthetic.davis_sequence import DAVIS_TEST, DAVIS_TRAIN
from vis_ros.synthetic.synthetic_video import scenes

RESULTS = Path(__file__).resolve().parents[1] / 'doc' / 'results'

SYNTHETIC = {'seed': 100, 'videos': 3, 'frames': 40, 'rate': 10.0, 'height': 360, 'width': 640}
"""Arguments of `vis-ros data synth`."""

TOLERANCE = {'AP': 0.03, 'HOTA': 0.03, 'IDF1': 0.03}
"""How much lower a later measurement may be, because processors and library versions round differently."""

WEIGHTS = 'demo'


def main() -> None:
    """Read the arguments, measure, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('set', choices=['synthetic', 'davis'])
    parser.add_argument('folder', type=Path, nargs='?', help='DAVIS folder with JPEGImages and Annotations')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.set == 'synthetic':
            evaluation = measure_synthetic(SYNTHETIC, Path(scratch))
            report = {'made_by': SYNTHETIC, 'tolerance': TOLERANCE, **figures(evaluation)}
        else:
            evaluation = measure(arguments.folder / 'JPEGImages', arguments.folder, Path(scratch))
            report = {**figures(evaluation), 'sequences': sequences(evaluation), 'halves': halves(evaluation)}
    text = json.dumps({'vis_ros': vis_ros.__version__, 'weights': WEIGHTS, **report}, indent=1)
    (RESULTS / f'{arguments.set}.json').write_text(text + '\n', encoding='utf-8')
    print(text)


def measure_synthetic(made_by: Mapping[str, Any], scratch: Path) -> Evaluation:
    """Make the videos, replay them and evaluate, in fp32, which every processor supports."""
    size = made_by['height'], made_by['width']
    videos = scenes(made_by['videos'], made_by['frames'], size, made_by['rate'], made_by['seed'])
    write_youtube_vis(videos, scratch / 'truth')
    return measure(scratch / 'truth' / 'JPEGImages', scratch / 'truth', scratch, precision='fp32')


def measure(images: Path, truth: Path, scratch: Path, precision: str = 'auto') -> Evaluation:
    """Replay a folder of image folders with the default settings and evaluate the results."""
    model = vis_ros.load(WEIGHTS, precision=precision)
    replay(open_recordings(images), model, scratch / 'results', codecs=('mp4v',))
    return evaluate(open_annotations(scratch / 'results'), open_annotations(truth))


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The settings, the results of the whole set, and how many frames were compared."""
    kept = ('model', 'engine', 'device', 'precision', 'stride', 'frames', 'skipped')
    return {
        'settings': {name: evaluation.settings[name] for name in kept},
        'agnostic': rounded(evaluation.agnostic),
        'aware': None if evaluation.aware is None else rounded(evaluation.aware),
        'compared_frames': evaluation.coverage.compared,
        'frames_without_result': evaluation.coverage.missing,
    }


def sequences(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """J, F and switches of the one object of each sequence."""
    return {
        each.video: rounded({'J': each.j, 'F': each.f, 'IDSW': each.switches, 'Frag': each.fragmentations})
        for each in evaluation.objects
    }


def halves(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Means over the sequences used in training, and over the others."""
    rows = sequences(evaluation)
    means = {}
    for name, half in (('train', DAVIS_TRAIN), ('test', DAVIS_TEST)):
        chosen = [rows[sequence] for sequence in half if sequence in rows]
        if chosen:
            means[name] = rounded({key: sum(row[key] for row in chosen) / len(chosen) for key in chosen[0]})
    return means


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Rounded to four decimals, which is finer than the agreement between machines."""
    return {name: round(float(value), 4) for name, value in values.items()}


if __name__ == '__main__':
    main()
