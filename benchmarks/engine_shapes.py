"""Whether the packaged graphs for TensorRT find what OpenVINO in fp32 finds, for images of each shape.

    python -m benchmarks.engine_shapes [--images FOLDER] [--count 12] [--weights demo]

The graphs run in ONNX Runtime on the CPU, each with the detector, the resize and the padding of the TensorRT engine, so
no GPU is needed. What a GPU rounds in fp16 is not part of it. The images are synthetic scenes, with --images also the
photos of a folder, cropped to each shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_equality import OnnxSession
from vis_ros.engines.accuracy_check import count_matches
from vis_ros.engines.by_size import BySize, Size
from vis_ros.engines.loading import load_engine, network_config
from vis_ros.engines.tensorrt.batch_detector import BatchDetector
from vis_ros.export.find_graph import find_graph
from vis_ros.instances import Instances
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import fitted_size, padded
from vis_ros.synthetic.scene import Scene

SHAPES = {'16:9': (720, 1280), '4:3': (480, 640), '1:1': (640, 640), '3:4': (640, 480), '9:16': (1280, 720)}
"""(height, width) of the images of each shape."""
CONFIDENT_MARGIN = 0.05
"""A detection counts if its score is above the threshold by this much: nearer, the last bits of the score decide."""

Image = NDArray[np.uint8]


class PlayedEngine:
    """The graphs for TensorRT in ONNX Runtime, one for each padded size of an image, as in `TensorRtEngine`."""

    def __init__(self, weights: str) -> None:
        self._path = resolve(weights)
        self._config = network_config(self._path)
        self._by_size = BySize(self._detector)

    def _detector(self, size: Size) -> BatchDetector:
        graph = find_graph(self._path, self._config.architecture, 'gpu', 'fp16', size)
        return BatchDetector(OnnxSession(graph), self._config, size)  # type: ignore[arg-type]

    def infer(self, image: Image) -> Instances:
        """The detections of one image."""
        detector = self._by_size.of_size(padded(fitted_size(image.shape[:2], self._config)))
        return detector.infer([image])[0]


def images_of(size: tuple[int, int], photos: list[Image], count: int) -> Iterator[Image]:
    """Frames of synthetic scenes of (height, width), and the largest parts of the photos of that shape."""
    for seed in range(count):
        yield Scene(seed, size).frame(seed * 10).image
    for photo in photos:
        scale = min(photo.shape[0] / size[0], photo.shape[1] / size[1])
        height, width = round(size[0] * scale), round(size[1] * scale)
        top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
        yield np.ascontiguousarray(photo[top : top + height, left : left + width])


def main() -> None:
    """Compare shape by shape, and print the share of confident detections that both sides have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=Path, help='folder of photos to add')
    parser.add_argument('--count', type=int, default=12, help='number of scenes, and of photos at most')
    parser.add_argument('--weights', default='demo')
    arguments = parser.parse_args()
    files = sorted(arguments.images.iterdir())[: arguments.count] if arguments.images else []
    photos = [np.asarray(cv2.imread(str(file)), np.uint8) for file in files]
    played = PlayedEngine(arguments.weights)
    reference = load_engine(arguments.weights, engine='openvino', precision='fp32')
    confident = reference.score_threshold + CONFIDENT_MARGIN
    for shape, size in SHAPES.items():
        images = list(images_of(size, photos, arguments.count))
        found, expected = [played.infer(image) for image in images], reference.infer(images)
        total, matched = count_matches(found, expected, confident)
        print(
            f'{shape:5} {len(images)} images: {matched} of {total} matched, {matched / max(total, 1):.2%}', flush=True
        )


if __name__ == '__main__':
    main()
