"""The real node as a process of its own, with the detector of coloured rectangles in place of a network."""

import os
import time

from rectangles import RectangleEngine

from vis_ros.node.vis_node import main


class SlowEngine(RectangleEngine):
    """Takes VIS_TEST_INFER_S seconds an image."""

    def infer(self, images):
        time.sleep(float(os.environ.get('VIS_TEST_INFER_S', '0')))
        return super().infer(images)


if __name__ == '__main__':
    main(engine_factory=SlowEngine)
