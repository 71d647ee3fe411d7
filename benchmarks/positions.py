"""Time to compute the positions of ten objects from depth, by image size and distortion model.

python -m benchmarks.positions [--runs 200]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from vis_ros.instances import Instances
from vis_ros.percentiles import percentiles
from vis_ros.positions import CameraModel, positions

OBJECTS = 10


def scene(height: int, width: int, random: np.random.Generator) -> Instances:
    """Objects of 1/8 to 1/2 of the image height, with masks that fill 80 % of their boxes."""
    sizes = random.integers(height // 8, height // 2, (OBJECTS, 2))
    corners = (random.random((OBJECTS, 2)) * ((width, height) - sizes)).astype(np.int32)
    rois = np.concatenate([corners, corners + sizes], axis=1)
    masks = [(random.random((int(rows), int(columns))) < 0.8).astype(np.uint8) for columns, rows in sizes]
    scores, class_ids = np.ones(OBJECTS, np.float32), np.zeros(OBJECTS, np.int32)
    return Instances((height, width), rois.astype(np.float32), scores, class_ids, rois, masks)


def main() -> None:
    """Read the arguments, print one line per image size and distortion model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=200, help='measured runs of each case')
    runs = parser.parse_args().runs
    random = np.random.default_rng(0)
    for height, width in ((480, 640), (720, 1280), (1080, 1920)):
        objects = scene(height, width, random)
        depth = random.integers(500, 4000, (height, width)).astype(np.uint16)
        matrix = np.array([[0.7 * width, 0, width / 2], [0, 0.7 * width, height / 2], [0, 0, 1]])
        for model, distortion in (('no distortion', np.zeros(0)), ('plumb_bob', np.array([-0.1, 0.02, 0, 0, 0]))):
            camera = CameraModel((height, width), matrix, distortion)
            times = []
            for _ in range(runs):
                start = time.perf_counter()
                positions(objects, depth, camera)
                times.append(1000 * (time.perf_counter() - start))
            median, high = percentiles(times, 50, 95)
            print(f'{width}x{height}, {model}: {median:.2f} ms p50, {high:.2f} ms p95')


if __name__ == '__main__':
    main()
