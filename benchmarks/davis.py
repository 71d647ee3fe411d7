"""How well one track follows the annotated object of each DAVIS-2016 sequence.

    python -m benchmarks.davis DAVIS_FOLDER [--weights demo] [--association one_to_one]

Three results per sequence:
J: mean IoU over all frames between the annotation and the best track of the sequence (IoU 0 in frames without it).
Best detection: mean IoU of the best detection of each frame, the limit for a perfect tracker. It considers up to 100
    detections with a score over 0.02, as benchmarks/detection.py does; only the detections within the model's own
    limits are tracked.
Switches: identity switches of CLEAR: the track that covers the object with an IoU of at least 0.5 changes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve
from vis_ros.synthetic.davis_sequence import DAVIS_TRAIN
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.model import new_memory
from vis_ros.tracking.settings import Settings

FRAME_RATE = 24.0
LOWEST_SCORE, MOST_DETECTIONS = 0.02, 100


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--association', default='one_to_one')
    arguments = parser.parse_args()
    config = read_config(resolve(arguments.weights))
    engine = load_engine(
        arguments.weights,
        precision=arguments.precision,
        score_threshold=LOWEST_SCORE,
        max_detections=MOST_DETECTIONS,
    )
    settings = Settings(association=arguments.association)
    rows = []
    for folder in sorted((arguments.folder / 'JPEGImages').iterdir()):
        half = 'train' if folder.name in DAVIS_TRAIN else 'test'
        row = follow(engine, config, settings, arguments.folder, folder.name)
        rows.append((half, *row))
        print(f'{folder.name:20s} {half:5s}  J {row[0]:.3f}  best detection {row[1]:.3f}  switches {row[2]:3d}')
    for half in ('train', 'test'):
        chosen = np.array([row[1:] for row in rows if row[0] == half])
        if len(chosen):
            overlap, best, switches = chosen.mean(0)
            print(f'mean of {len(chosen)} {half}: J {overlap:.3f}  best detection {best:.3f}  switches {switches:.2f}')


def follow(engine: Engine, config: ModelConfig, settings: Settings, root: Path, name: str) -> tuple[float, float, int]:
    """Mean IoU of the best track, mean IoU of the best detection, and identity switches of one sequence."""
    tracker = DetectAndTrack(engine, new_memory(settings))
    sums: dict[int, float] = defaultdict(float)
    best: list[float] = []
    switches, last = 0, 0
    images = sorted((root / 'JPEGImages' / name).glob('*.jpg'))
    for index, path in enumerate(images):
        image = cv2.imread(str(path))
        truth = cv2.imread(str(root / 'Annotations' / name / f'{path.stem}.png'), cv2.IMREAD_GRAYSCALE)
        if image is None or truth is None:
            raise ValueError(f'{path} or its annotation cannot be read')
        (found,) = engine.infer([image.astype(np.uint8)])
        best.append(max(iou_with(found, truth > 0), default=0.0))
        tracked = tracker.track(
            found[found.least_scores >= config.score_threshold][: config.max_detections], index / FRAME_RATE
        )
        overlaps = iou_with(tracked, truth > 0)
        assert tracked.track_ids is not None
        for track_id, overlap in zip(tracked.track_ids.tolist(), overlaps, strict=True):
            sums[track_id] += overlap
        if overlaps and max(overlaps) >= 0.5:
            current = int(tracked.track_ids[int(np.argmax(overlaps))])
            switches += last not in (0, current)
            last = current
    return max(sums.values(), default=0.0) / len(images), float(np.mean(best)), switches


def iou_with(instances: Instances, truth: NDArray[np.bool_]) -> list[float]:
    """IoU of each mask with the annotated mask (height, width)."""
    total = int(truth.sum())
    overlaps = []
    for (x0, y0, x1, y1), mask in zip(instances.rois.tolist(), instances.masks, strict=True):
        shared = int(np.count_nonzero(truth[y0:y1, x0:x1] & (mask > 0)))
        union = total + int(np.count_nonzero(mask)) - shared
        overlaps.append(shared / union if union else 0.0)
    return overlaps


if __name__ == '__main__':
    main()
