"""Class-agnostic mask AP of the detector, by pycocotools, on composed frames and on plain images of a COCO set.

    python -m benchmarks.detection IMAGES ANNOTATIONS [--weights demo] [--clips 20] [--frames 10]

With 'composites, pasted' the objects of the background image are crowd regions, which count neither as missed nor as
false detections.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composites import CompositeVideos
from vis_ros.synthetic.labeled_frame import LabeledFrame


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images')
    parser.add_argument('annotations')
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--precision', default='auto')
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
        ap, ap50, recall = average_precision(engine, frames, pasted)
        print(
            f'{name:20s} frames {len(frames):4d}  AP {ap * 100:5.1f}  AP50 {ap50 * 100:5.1f}  AR100 {recall * 100:5.1f}'
        )


def average_precision(engine: Engine, frames: Iterable[LabeledFrame], pasted_only: bool) -> tuple[float, float, float]:
    """(AP, AP50, AR100) of masks, class-agnostic."""
    truth: dict[str, list[dict[str, Any]]] = {
        'images': [],
        'annotations': [],
        'categories': [{'id': 1, 'name': 'object'}],
    }
    results: list[dict[str, Any]] = []
    for number, frame in enumerate(frames, 1):
        height, width = frame.image.shape[:2]
        truth['images'].append({'id': number, 'height': height, 'width': width})
        for mask, pasted in zip(frame.masks, frame.pasted, strict=True):
            truth['annotations'].append(
                _annotation(len(truth['annotations']) + 1, number, mask, pasted_only and not pasted)
            )
        if frame.ignored is not None and frame.ignored.any():
            truth['annotations'].append(_annotation(len(truth['annotations']) + 1, number, frame.ignored, True))
        (found,) = engine.infer([frame.image])
        for index in range(len(found)):
            code = coco_mask.encode(np.asfortranarray(found.full_mask(index)))
            results.append(
                {'image_id': number, 'category_id': 1, 'segmentation': code, 'score': float(found.scores[index])}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1]), float(evaluation.stats[8])


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
