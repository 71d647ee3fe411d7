"""EngineGate: holds the detector of colored rectangles at its first image."""

import threading

from helpers.rectangles import RectangleEngine


class EngineGate:
    """reached: set when the network gets an image. opened: set it to let the network go on."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def engine(self, *arguments, **settings):
        """An engine that waits at the gate; an engine factory of the node."""
        gate = self

        class Waiting(RectangleEngine):
            def infer(self, images):
                if images[0].any():  # not while it warms up
                    gate.reached.set()
                    gate.opened.wait(60)
                return super().infer(images)

        return Waiting(*arguments, **settings)
