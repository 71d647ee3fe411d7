"""Views: draws and publishes the pictures of all cameras in a thread of its own; tracking never waits for it."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from vis_ros.instances import Instances
from vis_ros.node.camera_publishers import CameraPublishers
from vis_ros.node.throttled_log import ThrottledLog


class _View(NamedTuple):
    header: Header
    image: NDArray[np.uint8]
    instances: Instances
    log: ThrottledLog


class Views:
    """Keeps the newest view of each camera until it is drawn. `show` may be called from any thread."""

    def __init__(self) -> None:
        self._newest: dict[CameraPublishers, _View] = {}
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='vis_views', daemon=True)
        self._thread.start()

    def show(
        self,
        publishers: CameraPublishers,
        header: Header,
        image: NDArray[np.uint8],
        instances: Instances,
        log: ThrottledLog,
    ) -> None:
        """Draw these objects next, in place of those of an earlier image, if anyone watches."""
        if publishers.are_views_watched:
            with self._changed:
                self._newest[publishers] = _View(header, image, instances, log)
                self._changed.notify()

    def stop(self, timeout_s: float) -> None:
        """Finish the view in progress, drop the others and end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._stopped)
                if self._stopped:
                    return
                publishers = next(iter(self._newest))  # the one that has waited longest
                view = self._newest.pop(publishers)
            try:
                publishers.publish_views(view.header, view.image, view.instances)
            except Exception as error:
                if not self._stopped:
                    view.log.error('views', f'no overlay: {type(error).__name__}: {error}')
