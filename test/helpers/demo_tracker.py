"""The real node with a detector that knows the scene of the demo: it finds the frame and returns its true masks.

Arguments: seed, height, width, frames; or 'exit' to exit at once, or 'faulty' to fail to load its weights.
"""

import sys

import numpy as np

from vis_ros.engines.engine import EngineInfo
from vis_ros.instances import Instances
from vis_ros.node.main import main
from vis_ros.synthetic.scene import Scene


class TruthEngine:
    """An `Engine` that finds the frame by its pixels. The embeddings of the objects are orthogonal."""

    class_names = ('shape',)
    score_threshold = 0.0
    batch = 1

    def __init__(self, scene):
        self.scene = scene
        self.input_size = scene.size
        self.frames = [scene.frame(index) for index in range(len(scene))]

    def infer(self, images):
        return [self.truth(image) for image in images]

    def truth(self, image):
        frame = next((frame for frame in self.frames if np.array_equal(frame.image, image)), None)
        if frame is None:
            return Instances.empty(image.shape[:2], embedding_size=16)
        rois = frame.boxes().astype(np.int32)
        return Instances(
            image_size=image.shape[:2],
            boxes=rois,
            scores=np.full(len(frame), 0.9),
            class_ids=frame.class_ids,
            rois=rois,
            masks=[
                mask[y0:y1, x0:x1].astype(np.uint8) for mask, (x0, y0, x1, y1) in zip(frame.masks, rois, strict=True)
            ],
            embeddings=10 * np.eye(16)[frame.object_ids],
        )

    def warm_up(self):
        return 1.0

    def describe(self):
        return EngineInfo('truth', 'cpu', 'bool', 'truth', 0, self.input_size)


def factory(weights, **arguments):
    if sys.argv[1] == 'faulty':
        raise FileNotFoundError('no weights here')
    seed, height, width, frames = map(int, sys.argv[1:5])
    return TruthEngine(Scene(seed, (height, width), frames))


if __name__ == '__main__':
    if sys.argv[1] == 'exit':
        sys.exit('this tracker exits')
    main(engine_factory=factory)
