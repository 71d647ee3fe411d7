"""A detector of colored rectangles, and images for it: real computation, no weights."""

import cv2
import numpy as np

from vis_ros.engines.engine import EngineInfo
from vis_ros.instances import Instances

CLASS_NAMES = ('blue', 'green', 'red')
BLUE, GREEN, RED = (250, 20, 20), (20, 250, 20), (20, 20, 250)
HEIGHT, WIDTH = 48, 64


def draw(*rectangles, height=HEIGHT, width=WIDTH):
    """(height, width, 3) uint8 BGR, gray, with rectangles (x0, y0, x1, y1, color), x1 and y1 exclusive."""
    image = np.full((height, width, 3), 128, np.uint8)
    for x0, y0, x1, y1, color in rectangles:
        image[y0:y1, x0:x1] = color
    return image


class RectangleEngine:
    """An `Engine`: every connected patch of saturated pixels is an object of the class of its strongest channel.

    The score is the saturation, (max - min) / 255. The embedding is the hue, so that two different colors have a
    negative product: in eq. 2 of MaskTrack R-CNN they are different objects.
    """

    class_names = CLASS_NAMES
    input_size = (HEIGHT, WIDTH)
    batch = 1

    def __init__(self, weights='rectangles', *, score_threshold=None, **_arguments):
        self.weights = weights
        self.score_threshold = score_threshold or 0.1

    def infer(self, images):
        return [self._detect(image) for image in images]

    def _detect(self, image):
        saturation = image.max(2).astype(np.float32) / 255 - image.min(2).astype(np.float32) / 255
        count, labels, stats, _ = cv2.connectedComponentsWithStats((saturation > self.score_threshold).view(np.uint8))
        x, y, width, height = stats[1:count, :4].T
        rois = np.stack([x, y, x + width, y + height], 1).reshape(-1, 4)
        colors = np.array([image[labels == label].mean(0) for label in range(1, count)]).reshape(-1, 3)
        return Instances(
            image_size=image.shape[:2],
            boxes=rois,
            scores=np.array([saturation[labels == label].mean() for label in range(1, count)], np.float32),
            class_ids=colors.argmax(1),
            rois=rois,
            masks=[
                (labels[y0:y1, x0:x1] == label).view(np.uint8)
                for label, (x0, y0, x1, y1) in enumerate(rois.tolist(), start=1)
            ],
            embeddings=(colors - colors.mean(1, keepdims=True)) / 20,
        )

    def warm_up(self):
        self.infer([np.zeros((*self.input_size, 3), np.uint8)])
        return 0.5

    def describe(self):
        return EngineInfo('opencv', 'cpu', 'uint8', 'rectangles', 0, self.input_size)
