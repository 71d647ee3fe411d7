"""DepthStream: the depth images and the calibration of one camera, by which its objects get positions."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

from vis_ros.images import decode_depth
from vis_ros.instances import Instances
from vis_ros.node.throttled_log import ThrottledLog
from vis_ros.positions import DEPTH_TOLERANCE_NS, positions
from vis_ros.ros.camera_info import camera_model
from vis_ros.ros.nearest_in_time import NearestInTime
from vis_ros.ros.stamps import nanoseconds

DEPTH_MODES = ('none', 'raw', 'rectified')
"""No depth; with it for images as the sensor has them, or for rectified ones."""

_PATIENCE_S = 0.05
"""Depth comes later than its image where it is computed from it; so long it is waited for, while it comes at all."""

_ALIVE_S = 1.0
_RECENT = 5
_PERIOD_S = 30.0
"""What is missing for long is logged once in so many seconds."""


class DepthStream:
    """Receives in the executor's thread; the worker says which image it begins with, and later asks for positions.

    Only a few depth images are kept: the newest ones, and the one nearest to the image in work.

    Args:
        node: whose subscriptions these are.
        prefix: of the topics `depth` and `camera_info`, or ''.
        rectified: whether the images are.
        throttled_log: of the camera.
    """

    def __init__(self, node: LifecycleNode, prefix: str, rectified: bool, throttled_log: ThrottledLog) -> None:
        self.missing = 0
        """Images whose objects got no positions."""
        self._node = node
        self._topics = [node.resolve_topic_name(f'{prefix}{name}') for name in ('depth', 'camera_info')]
        self._rectified = rectified
        self._complaints = throttled_log
        self._subscriptions: list[Subscription[Any]] = []
        self._changed = threading.Condition()
        self._forget()

    def _forget(self) -> None:
        self._depths: NearestInTime[Image] = NearestInTime(_RECENT)
        self._wanted: int | None = None
        self._last_arrival = -np.inf
        self._info: CameraInfo | None = None

    # --- executor thread --------------------------------------------------------------------------------------------

    def subscribe(self) -> None:
        """Begin to receive, with nothing known."""
        with self._changed:
            self._forget()
        self.missing = 0
        depth, info = self._topics
        self._subscriptions = [self._subscribe(Image, depth, self._on_depth)]
        self._subscriptions.append(self._subscribe(CameraInfo, info, self._on_info))

    def _subscribe(self, message_type: type, topic: str, receive: Any) -> Subscription[Any]:
        return self._node.create_subscription(
            message_type,
            topic,
            receive,
            QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info

    def _on_depth(self, message: Image) -> None:
        stamp = nanoseconds(message.header.stamp)
        if stamp is None:
            self._complain(f'depth image on {self._topics[0]} has a stamp that tells no time: it fits no image')
            return
        with self._changed:
            self._last_arrival = time.monotonic()
            self._depths.add(stamp, message)
            self._changed.notify()

    # --- worker thread ----------------------------------------------------------------------------------------------

    def expect(self, stamp: int | None) -> None:
        """An image of that stamp in nanoseconds is in work; None: of a stamp that tells no time."""
        with self._changed:
            self._wanted = stamp
            self._depths.want(stamp)

    def locate(self, instances: Instances) -> Instances:
        """The objects of the image in work with their positions, NaN where they are not known."""
        try:
            message = self._wait_for_depth()
            if self._info is None:
                raise ValueError(f'no camera_info has come on {self._topics[1]}')
            camera = camera_model(self._info, self._rectified)
            depth = decode_depth(message)
            return instances.with_fields(positions=positions(instances, depth, camera))
        except ValueError as error:  # an ImageError is one
            self.missing += 1
            self._complain(f'objects get no positions: {error}')
            return instances

    def _wait_for_depth(self) -> Image:
        """The depth image of the image in work. ValueError where there is none."""
        with self._changed:
            wanted = self._wanted
            if wanted is None:
                raise ValueError('the stamp of the image tells no time')
            if time.monotonic() - self._last_arrival < _ALIVE_S:
                self._changed.wait_for(lambda: (self._depths.latest_ns or 0) >= wanted, _PATIENCE_S)
            nearest = self._depths.nearest()
        if nearest is None:
            raise ValueError(f'no depth image has come on {self._topics[0]}')
        stamp, message = nearest
        if abs(stamp - wanted) > DEPTH_TOLERANCE_NS:
            raise ValueError(
                f'the nearest depth image on {self._topics[0]} is {abs(stamp - wanted) / 1e6:.0f} ms away from the '
                f'image, more than {DEPTH_TOLERANCE_NS / 1e6:.0f} ms'
            )
        return message

    def _complain(self, text: str) -> None:
        self._complaints.warn('depth', text, _PERIOD_S)
