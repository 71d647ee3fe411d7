"""Mask AP of the detector, by pycocotools, on composed frames and on plain images of a COCO set.

    python -m benchmarks.detection IMAGES ANNOTATIONS [--weights demo] [--clips 20] [--frames 10]
                                   [--classes config/train_demo.yaml]

AP is class-agnostic. With 'composites, pasted' the objects of the background image are crowd regions, which count
neither as missed nor as false detections. --classes adds the AP of each class of the model on the plain images, with
the categories of the first data source of a training config, and their mean without the class that takes the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine
from vis_ros.instances import Instances
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composites import CompositeVideos
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.training.train_config import TrainConfig
from vis_ros.training.training_data import class_names


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images')
    parser.add_argument('annotations')
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--classes', metavar='CONFIG')
    parser.add_argument('--clips', type=int, default=20)
    parser.add_argument('--frames', type=int, default=10)
    parser.add_argument('--size', type=int, nargs=2, default=(288, 512), metavar=('HEIGHT', 'WIDTH'))
    arguments = parser.parse_args()
    engine = load_engine(arguments.weights, precision=arguments.precision, score_threshold=0.02, max_detections=100)
    print(engine.describe())
    dataset = CocoDataset(arguments.images, arguments.annotations)
    videos = CompositeVideos(dataset, dataset.objects(), tuple(arguments.size))
    clips = (videos.video(clip) for clip in range(arguments.clips))
    composed = [video.frame(4 * t) for video in clips for t in range(arguments.frames)]
    for name, frames, pasted in (
        ('composites, pasted', composed, True),
        ('composites, all', composed, False),
        ('plain images', [dataset.frame(index) for index in range(len(dataset))], False),
    ):
        found = average_precision(engine, frames, pasted_only=pasted)
        print(f'{name:20s} frames {len(frames):4d}  {found}')
    if arguments.classes:
        print_classes(engine, arguments)


def print_classes(engine: Engine, arguments: argparse.Namespace) -> None:
    """AP of each class of the model that the images show."""
    classes = TrainConfig.read(Path(arguments.classes)).data[0].classes
    dataset = CocoDataset(arguments.images, arguments.annotations, 'categories')
    names = class_names(dataset.class_names, classes, arguments.annotations)
    ids = {number: engine.class_names.index(name) for number, name in enumerate(names) if name in engine.class_names}
    frames = [dataset.frame(index) for index in range(len(dataset))]
    outputs = [engine.infer([frame.image])[0] for frame in frames]
    others = [name for name, categories in classes.items() if not categories] if not isinstance(classes, str) else []
    rows = []
    for class_id, name in enumerate(engine.class_names):
        truth = [_of_class(frame, class_id, ids) for frame in frames]
        objects = sum(map(len, truth))
        if objects:
            found = score(truth, [each[each.class_ids == class_id] for each in outputs])
            rows.append((name, found))
            print(f'  {name:20s} objects {objects:4d}  {found}')
    named = [found for name, found in rows if name not in others]
    print(f'mean of {len(named)} named classes: AP {_mean(named, "ap"):5.1f}  AP50 {_mean(named, "ap50"):5.1f}')


def _mean(rows: list[Precision], figure: str) -> float:
    return 100 * float(np.mean([getattr(row, figure) for row in rows]))


def _of_class(frame: LabeledFrame, class_id: int, ids: dict[int, int]) -> LabeledFrame:
    """The frame with the objects of one class."""
    shown = np.array([ids.get(int(own)) == class_id for own in frame.class_ids], bool)
    return replace(
        frame,
        object_ids=frame.object_ids[shown],
        class_ids=frame.class_ids[shown],
        masks=frame.masks[shown],
        pasted=frame.pasted[shown],
    )


@dataclass(frozen=True)
class Precision:
    """AP at IoU 0.5 to 0.95, AP at 0.5, and average recall with 100 detections; between 0 and 1."""

    ap: float
    ap50: float
    recall: float

    def __str__(self) -> str:
        return f'AP {self.ap * 100:5.1f}  AP50 {self.ap50 * 100:5.1f}  AR100 {self.recall * 100:5.1f}'


def average_precision(engine: Engine, frames: Sequence[LabeledFrame], *, pasted_only: bool) -> Precision:
    """The precision of class-agnostic masks. pasted_only: all other objects are crowd regions."""
    return score(frames, [engine.infer([frame.image])[0] for frame in frames], pasted_only=pasted_only)


def score(frames: Sequence[LabeledFrame], outputs: Sequence[Instances], *, pasted_only: bool = False) -> Precision:
    """The precision of the instances found in each frame, class-agnostic."""
    truth: dict[str, list[dict[str, Any]]] = {
        'images': [],
        'annotations': [],
        'categories': [{'id': 1, 'name': 'object'}],
    }
    results: list[dict[str, Any]] = []
    for number, (frame, found) in enumerate(zip(frames, outputs, strict=True), 1):
        height, width = frame.image.shape[:2]
        truth['images'].append({'id': number, 'height': height, 'width': width})
        for mask, pasted in zip(frame.masks, frame.pasted, strict=True):
            truth['annotations'].append(
                _annotation(len(truth['annotations']) + 1, number, mask, pasted_only and not pasted)
            )
        if frame.ignored is not None and frame.ignored.any():
            truth['annotations'].append(_annotation(len(truth['annotations']) + 1, number, frame.ignored, True))
        for index in range(len(found)):
            code = coco_mask.encode(np.asfortranarray(found.full_mask(index)))
            results.append(
                {'image_id': number, 'category_id': 1, 'segmentation': code, 'score': float(found.scores[index])}
            )
    if not results:
        return Precision(0.0, 0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Precision(float(evaluation.stats[0]), float(evaluation.stats[1]), float(evaluation.stats[8]))


def _annotation(number: int, image: int, mask: np.ndarray, crowd: bool) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        'id': number,
        'image_id': image,
        'category_id': 1,
        'segmentation': code,
        'area': int(mask.sum()),
        'bbox': coco_mask.toBbox(code).tolist(),
        'iscrowd': int(crowd),
    }


if __name__ == '__main__':
    main()
