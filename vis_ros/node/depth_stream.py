"""DepthStream: depth images and calibration of one camera, which give its objects positions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

from vis_ros.image_headers import ImageError
from vis_ros.images import decode_depth
from vis_ros.instances import Instances
from vis_ros.node.image_queue import ArrivedImage
from vis_ros.node.throttled_log import ThrottledLog
from vis_ros.positions import DEPTH_TOLERANCE_NS, positions
from vis_ros.ros.camera_info import camera_model
from vis_ros.ros.nearest_in_time import NearestInTime
from vis_ros.ros.serialized_images import RawImage, read_header, read_image
from vis_ros.ros.stamps import nanoseconds

_TIMEOUT_S = 0.05
"""How long an image waits for its depth image. Depth that is computed from the image arrives after it."""

_ALIVE_S = 1.0
"""No image waits if no depth image has arrived for this many seconds."""

_BUFFERED = 5
_PERIOD_S = 30.0
"""A missing depth image is logged at most once in this many seconds."""

StampedDepth = tuple[int, bytes]
"""Stamp in nanoseconds and serialized message of a depth image."""


class DepthStream:
    """Receives depth images and calibration in the executor thread, and locates objects in the publishing thread. The
    worker never waits for a depth image: `wait_s` says how long the image should, while the worker does other work.

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
        self._timer: Any = None
        self._on_arrival: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._depths: NearestInTime[bytes] = NearestInTime(_BUFFERED)
        self._period_ns = 0
        self._last_arrival = -np.inf
        self._info: CameraInfo | None = None

    # --- executor thread --------------------------------------------------------------------------------------------

    def subscribe(self, on_arrival: Callable[[], None]) -> None:
        """Start receiving, with empty buffers. `on_arrival` is called after each depth image."""
        with self._lock:
            self._clear()
        self.missing = 0
        self._on_arrival = on_arrival
        depth, info = self._topics
        self._subscriptions = [
            self._subscribe(Image, depth, self._on_depth, raw=True),
            self._subscribe(CameraInfo, info, self._on_info),
        ]
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._timer = self._node.create_timer(1.0, self._subscribe_to_latched_info, clock=steady)

    def _subscribe(self, message_type: type, topic: str, receive: Any, raw: bool = False) -> Subscription[Any]:
        return self._node.create_subscription(
            message_type,
            topic,
            receive,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=raw,
        )

    def _subscribe_to_latched_info(self) -> None:
        """Subscribe to a calibration that a driver sent once, before this node started. The subscription is made only
        where there is such a driver, because it is incompatible with drivers that send it with each image.
        """
        topic = self._topics[1]
        publishers = self._node.get_publishers_info_by_topic(topic) if self._info is None else []
        if any(each.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in publishers):
            latched = QoSProfile(
                depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
            )
            self._subscriptions.append(self._node.create_subscription(CameraInfo, topic, self._on_info, latched))
            self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def unsubscribe(self) -> None:
        self._stop_timer()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info

    def _on_depth(self, data: bytes) -> None:
        try:
            stamp = nanoseconds(read_header(data))
        except ImageError as error:
            self._warn(f'depth image on {self._topics[0]} is ignored: {error}')
            return
        if not stamp:
            self._warn(f'depth image on {self._topics[0]} has an invalid stamp and is ignored')
            return
        with self._lock:
            self._last_arrival = time.monotonic()
            self._period_ns = abs(stamp - self._depths.latest_ns) if self._depths.latest_ns else 0
            self._depths.add(stamp, data)
        self._on_arrival()

    # --- any thread -------------------------------------------------------------------------------------------------

    def wait_s(self, image: ArrivedImage) -> float:
        """How many more seconds an image should wait for a depth image nearer than those that are here; 0 or less if
        none can come.
        """
        now = time.monotonic()
        with self._lock:
            latest_ns = self._depths.latest_ns
            if not image.stamp_ns or latest_ns is None or now - self._last_arrival > _ALIVE_S:
                return 0.0
            gap_ns = image.stamp_ns - latest_ns
            if gap_ns <= self._period_ns / 2 or gap_ns <= 0:  # the next one comes a period after the latest one
                return 0.0
        return image.time + _TIMEOUT_S - now

    # --- worker thread ----------------------------------------------------------------------------------------------

    def want(self, stamp_ns: int | None) -> StampedDepth | None:
        """From now on, keep the depth image nearest to the stamp of an image in nanoseconds; None: to no stamp. Returns
        the one nearest to the stamp that was wanted before.
        """
        with self._lock:
            before = self._depths.nearest()
            self._depths.want(stamp_ns)
            return before

    def nearest(self) -> StampedDepth | None:
        """The depth image nearest to the stamp, so far."""
        with self._lock:
            return self._depths.nearest()

    # --- publishing thread ------------------------------------------------------------------------------------------

    def locate(
        self, instances: Instances, depth: StampedDepth | None, stamp_ns: int | None, frame_id: str
    ) -> Instances:
        """The objects of an image with positions, NaN where unknown; unchanged if there is no usable depth.

        Args:
            instances: the objects.
            depth: the depth image nearest to that image.
            stamp_ns: of the image in nanoseconds; None if it is invalid.
            frame_id: of the image.
        """
        try:
            message = self._read(depth, stamp_ns)
            if self._info is None:
                raise ValueError(f'no camera_info received on {self._topics[1]}')
            camera = camera_model(self._info, self._rectified)
            self._check_frames(frame_id, message.header.frame_id, self._info.header.frame_id)
            return instances.with_fields(positions=positions(instances, decode_depth(message), camera))
        except ValueError as error:  # ImageError included
            self.missing += 1
            self._warn(f'objects have no positions: {error}')
            return instances

    def _read(self, depth: StampedDepth | None, stamp_ns: int | None) -> RawImage:
        """The depth image of the image with this stamp. ValueError if there is none."""
        if stamp_ns is None:
            raise ValueError('the stamp of the image is invalid')
        if depth is None:
            raise ValueError(f'no depth image received on {self._topics[0]}')
        distance_ns = abs(depth[0] - stamp_ns)
        if distance_ns > DEPTH_TOLERANCE_NS:
            raise ValueError(
                f'the nearest depth image on {self._topics[0]} is {distance_ns / 1e6:.0f} ms away from the image, more '
                f'than {DEPTH_TOLERANCE_NS / 1e6:.0f} ms'
            )
        return read_image(depth[1])

    def _check_frames(self, image: str, depth: str, info: str) -> None:
        """Registered depth and its calibration have the frame of the image; others give positions that look right."""
        for topic, frame_id in zip(self._topics, (depth, info), strict=True):
            if frame_id.lstrip('/') != image.lstrip('/'):
                self._log.warn(
                    f'frame of {topic}',
                    f'{topic} has the frame {frame_id!r}, but the image has {image!r}: unless it is registered to the '
                    'image, positions are wrong',
                    _PERIOD_S,
                )

    def _warn(self, text: str) -> None:
        self._log.warn('depth', text, _PERIOD_S)
