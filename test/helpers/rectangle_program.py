"""The program `vis-ros` with a detector of rectangles that takes 20 ms for an image."""

import time

import vis_ros.tracking.model
from helpers.rectangles import RectangleEngine
from vis_ros.cli.main import main


class SlowEngine(RectangleEngine):
    """Takes about as long as a network on a GPU."""

    def infer(self, images):
        time.sleep(0.02)
        return super().infer(images)


if __name__ == '__main__':
    vis_ros.tracking.model.load_engine = lambda *arguments, **_: SlowEngine(*arguments)
    main()
