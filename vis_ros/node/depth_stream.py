"""DepthStream: depth images and calibration of one camera, which give its objects positions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
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

_TIMEOUT_S = 0.05
"""How long to wait for the depth image of an image. Depth that is computed from the image arrives after it."""

_ALIVE_S = 1.0
"""The wait is skipped if no depth image has arrived for this many seconds."""

_BUFFERED = 5
_PERIOD_S = 30.0
"""A missing depth image is logged at most once in this many seconds."""


class DepthStream:
    """Receives depth images and calibration in the executor thread, and locates objects in the worker thread.

    It buffers a few depth images: the newest ones, and the one nearest to the image in flight.

    Args:
        node: creates the subscriptions.
        prefix: of the topics `depth` and `camera_info`, or ''.
        rectified: whether the images are rectified.
        log: of the camera.
    """

    def __init__(self, node: LifecycleNode, prefix: str, rectified: bool, log: ThrottledLog) -> None:
        self.missing = 0
        """Images whose objects got no positions."""
        self._node = node
        self._topics = [node.resolve_topic_name(f'{prefix}{name}') for name in ('depth', 'camera_info')]
        self._rectified = rectified
        self._log = log
        self._subscriptions: list[Subscription[Any]] = []
        self._changed = threading.Condition()
        self._clear()

    def _clear(self) -> None:
        self._depths: NearestInTime[Image] = NearestInTime(_BUFFERED)
        self._last_arrival = -np.inf
        self._info: CameraInfo | None = None

    # --- executor thread --------------------------------------------------------------------------------------------

    def subscribe(self) -> None:
        """Start receiving, with empty buffers."""
        with self._changed:
            self._clear()
        self.missing = 0
        depth, info = self._topics
        self._subscriptions = [self._subscribe(Image, depth, self._on_depth)]
        self._subscriptions.append(self._subscribe(CameraInfo, info, self._on_info))
        # A driver may send its calibration once, before this node starts. Only this subscription receives it then, and
        # it does not match drivers that send it with each image.
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._subscriptions.append(self._node.create_subscription(CameraInfo, info, self._on_info, latched))

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
            self._warn(f'depth image on {self._topics[0]} has an invalid stamp and is ignored')
            return
        with self._changed:
            self._last_arrival = time.monotonic()
            self._depths.add(stamp, message)
            self._changed.notify()

    # --- worker thread ----------------------------------------------------------------------------------------------

    def locate(self, find: Callable[[], Instances], stamp_ns: int | None, frame_id: str) -> Instances:
        """The objects that `find` returns, with positions, NaN where unknown; unchanged if there is no usable depth.

        While `find` runs, the depth image nearest to the stamp stays buffered.

        Args:
            find: finds the objects of an image.
            stamp_ns: of that image in nanoseconds; None if it is invalid.
            frame_id: of that image.
        """
        with self._changed:
            self._depths.want(stamp_ns)
        instances = find()
        try:
            message = self._wait_for_depth(stamp_ns)
            if self._info is None:
                raise ValueError(f'no camera_info received on {self._topics[1]}')
            camera = camera_model(self._info, self._rectified)
            self._check_frames(frame_id, message.header.frame_id, self._info.header.frame_id)
            return instances.with_fields(positions=positions(instances, decode_depth(message), camera))
        except ValueError as error:  # ImageError included
            self.missing += 1
            self._warn(f'objects have no positions: {error}')
            return instances

    def _wait_for_depth(self, stamp_ns: int | None) -> Image:
        """The depth image of the image with this stamp. ValueError if there is none."""
        if stamp_ns is None:
            raise ValueError('the stamp of the image is invalid')
        with self._changed:
            if time.monotonic() - self._last_arrival < _ALIVE_S:
                self._changed.wait_for(lambda: (self._depths.latest_ns or 0) >= stamp_ns, _TIMEOUT_S)
            nearest = self._depths.nearest()
        if nearest is None:
            raise ValueError(f'no depth image received on {self._topics[0]}')
        distance_ns = abs(nearest[0] - stamp_ns)
        if distance_ns > DEPTH_TOLERANCE_NS:
            raise ValueError(
                f'the nearest depth image on {self._topics[0]} is {distance_ns / 1e6:.0f} ms away from the image, more '
                f'than {DEPTH_TOLERANCE_NS / 1e6:.0f} ms'
            )
        return nearest[1]

    def _check_frames(self, image: str, depth: str, info: str) -> None:
        """Registered depth and its calibration have the frame of the image; others give positions that look right."""
        for topic, frame_id in zip(self._topics, (depth, info), strict=True):
            if frame_id != image:
                self._log.warn(
                    f'frame of {topic}',
                    f'{topic} has the frame {frame_id!r}, but the image has {image!r}: unless it is registered to the '
                    'image, positions are wrong',
                    _PERIOD_S,
                )

    def _warn(self, text: str) -> None:
        self._log.warn('depth', text, _PERIOD_S)
