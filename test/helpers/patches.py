"""A detector of patches of pure colors, without a network, and squares to detect."""

import numpy as np

from helpers.color_propagator import BLUE, GREEN, RED, mask_of
from vis_ros.engines.engine import EngineInfo
from vis_ros.instances import Instances


class PatchEngine:
    """Detects patches of pure colors; class and embedding are the color."""

    class_names = ('blue', 'green', 'red')
    input_size = (96, 160)
    score_threshold = 0.5
    colors = (BLUE, GREEN, RED)

    def __init__(self):
        self.calls = 0

    def infer(self, images):
        self.calls += 1
        return [self._one(image) for image in images]

    def _one(self, image):
        found = [(n, mask_of(image, color)) for n, color in enumerate(self.colors)]
        found = [(n, mask) for n, mask in found if mask.any()]
        rois = np.array([box_of(mask) for _, mask in found], np.int32).reshape(-1, 4)
        return Instances(
            image_size=image.shape[:2],
            boxes=rois,
            scores=np.full(len(found), 0.9),
            class_ids=[n for n, _ in found],
            rois=rois,
            masks=[
                mask[y0:y1, x0:x1].astype(np.uint8) for (_, mask), (x0, y0, x1, y1) in zip(found, rois, strict=True)
            ],
            embeddings=np.array([np.eye(3)[n] * 10 - 5 for n, _ in found]).reshape(-1, 3),
        )

    def warm_up(self):
        return 0.0

    def describe(self):
        return EngineInfo('patches', 'cpu', 'uint8', 'patches', 0, self.input_size)


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def square(x, y=20, side=24, color=RED):
    return (x, y, x + side, y + side, color)
