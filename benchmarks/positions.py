"""What positions cost: milliseconds of an image for ten objects, by the size of the image.

python -m benchmarks.positions
"""

from __future__ import annotations

import time

import numpy as np

from vis_ros.instances import Instances
from vis_ros.positions import CameraModel, positions

OBJECTS, RUNS = 10, 200


def scene(height: int, width: int, random: np.random.Generator) -> Instances:
    """Objects of an eighth to a half of the height, four fifths of their boxes filled."""
    sizes = random.integers(height // 8, height // 2, (OBJECTS, 2))
    corners = (random.random((OBJECTS, 2)) * ((width, height) - sizes)).astype(np.int32)
    rois = np.concatenate([corners, corners + sizes], axis=1)
    masks = [(random.random((int(rows), int(columns))) < 0.8).astype(np.uint8) for columns, rows in sizes]
    return Instances((height, width), rois, np.ones(OBJECTS), np.zeros(OBJECTS), rois, masks)


def main() -> None:
    """Print a line for each size and kind of lens."""
    random = np.random.default_rng(0)
    for height, width in ((480, 640), (720, 1280), (1080, 1920)):
        objects = scene(height, width, random)
        depth = random.integers(500, 4000, (height, width)).astype(np.uint16)
        matrix = np.array([[0.7 * width, 0, width / 2], [0, 0.7 * width, height / 2], [0, 0, 1]])
        for lens, distortion in (('no distortion', np.zeros(0)), ('plumb_bob', np.array([-0.1, 0.02, 0, 0, 0]))):
            camera = CameraModel((height, width), matrix, distortion)
            times = []
            for _ in range(RUNS):
                begun = time.perf_counter()
                positions(objects, depth, camera)
                times.append(1000 * (time.perf_counter() - begun))
            median, high = np.percentile(times, (50, 95))
            print(f'{width}x{height}, {lens}: {median:.2f} ms p50, {high:.2f} ms p95')


if __name__ == '__main__':
    main()
