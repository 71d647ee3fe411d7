"""How well one identity follows the annotated object of each DAVIS-2016 sequence.

For each sequence: the mean over frames of the IoU between the annotation and the mask of the best-matching identity
(the one identity of the whole sequence with the highest mean; 0 in frames where it is missing), the mean IoU of the
best detection of each frame (what the detector could give a perfect tracker: of up to MOST over LOWEST, as
benchmarks/detection.py counts, though only those within the model's own limits are tracked), and the identity switches
(CLEAR: the identity that covers the object with IoU of at least 0.5 is not the one that did so last).

    python benchmarks/davis.py DAVIS_FOLDER [--weights demo] [--association one_to_one]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine, load_engine
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve
from vis_ros.synthetic.davis_sequence import DAVIS_TRAIN
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory

FRAME_RATE = 24.0
LOWEST, MOST = 0.02, 100


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--association', default='one_to_one')
    arguments = parser.parse_args()
    config = read_config(resolve(arguments.weights))
    engine = load_engine(arguments.weights, precision=arguments.precision, score_threshold=LOWEST, max_detections=MOST)
    rows = []
    for folder in sorted((arguments.folder / 'JPEGImages').iterdir()):
        half = 'train' if folder.name in DAVIS_TRAIN else 'test'
        row = follow(engine, config, arguments.association, arguments.folder, folder.name)
        rows.append((half, *row))
        print(f'{folder.name:20s} {half:5s}  J {row[0]:.3f}  best detection {row[1]:.3f}  switches {row[2]:3d}')
    for half in ('train', 'test'):
        chosen = np.array([row[1:] for row in rows if row[0] == half])
        if len(chosen):
            overlap, best, switches = chosen.mean(0)
            print(f'mean of {len(chosen)} {half}: J {overlap:.3f}  best detection {best:.3f}  switches {switches:.2f}')


def follow(engine: Engine, config: ModelConfig, rule: str, root: Path, name: str) -> tuple[float, float, int]:
    """(mean IoU of the best-matching identity, mean IoU of the best detection, identity switches)."""
    tracker = DetectAndTrack(engine, IdentityMemory(AssociationConfig(rule=rule)))
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
    """IoU of each mask with one true mask (height, width)."""
    total = int(truth.sum())
    overlaps = []
    for (x0, y0, x1, y1), mask in zip(instances.rois.tolist(), instances.masks, strict=True):
        shared = int(np.count_nonzero(truth[y0:y1, x0:x1] & (mask > 0)))
        union = total + int(np.count_nonzero(mask)) - shared
        overlaps.append(shared / union if union else 0.0)
    return overlaps


if __name__ == '__main__':
    main()
