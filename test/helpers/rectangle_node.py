"""The real node as a process of its own, with a detector of colored rectangles in place of a network.

Loading takes VIS_TEST_LOAD_S seconds, and each image VIS_TEST_INFER_S seconds. With VIS_TEST_LOST the device is lost at
the first image.
"""

import os
import time

from helpers.rectangles import RectangleEngine
from vis_ros.engines.engine import DeviceLostError
from vis_ros.node.main import main


class SlowEngine(RectangleEngine):
    def __init__(self, weights, **arguments):
        time.sleep(float(os.environ.get('VIS_TEST_LOAD_S', '0')))
        super().__init__(weights, **arguments)

    def infer(self, images):
        if images[0].any():  # not the warm-up
            time.sleep(float(os.environ.get('VIS_TEST_INFER_S', '0')))
            if 'VIS_TEST_LOST' in os.environ:
                raise DeviceLostError('the GPU is lost: restart')
        return super().infer(images)


if __name__ == '__main__':
    main(engine_factory=SlowEngine)
