"""The topics of a running node in Rerun: each image that it has answered, with its objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy

from vis_ros.image_headers import ImageError
from vis_ros.instances import LOST
from vis_ros.msg import InstanceMaskArray
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.cdr import read_header
from vis_ros.recordings.image_decoder import ImageDecoder
from vis_ros.replay.live.player import Player, open_player
from vis_ros.replay.live.running_node import NodeCamera, RunningNode
from vis_ros.replay.records import frame_record
from vis_ros.ros.messages import to_instances
from vis_ros.ros.new_message import message_class
from vis_ros.ros.stamps import NS_PER_S
from vis_ros.video.video_decoder import NoPixels, Pixels
from vis_ros.view.rerun_log import RerunLog

_APPEAR_S, _ACTIVE_S = 20.0, 120.0
_QUALITY = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)

Value = TypeVar('Value')


def view_live(log: RerunLog, node: str, stop: Event, on_ready: Callable[[str], None]) -> int:
    """Show the images and objects of a running node until `stop` is set. Returns the number of images shown.

    Args:
        log: where they are shown.
        node: fully qualified name of the node.
        stop: ends it.
        on_ready: called with the topics of the cameras, once the node is active.

    Raises:
        TimeoutError: there is no such node, or it is not active.
        ConnectionError: the node reports that it cannot work.
        KeyboardInterrupt: stopped before the node was active.
    """
    with open_player('vis_ros_view', stop) as player:
        cameras = RunningNode(player, node).wait_until_active(_APPEAR_S, _ACTIVE_S)
        shown = [_LiveCamera(player, camera, log) for camera in cameras]
        on_ready(', '.join(f'{camera.image_topic} and {camera.instances_topic}' for camera in cameras))
        while not stop.is_set():
            player.run(60.0, stop.is_set)
        return sum(camera.frames for camera in shown)


class _LiveCamera:
    """One camera of the node: matches images and results by their stamps, whichever comes first.

    frames: number of images shown.
    """

    def __init__(self, player: Player, camera: NodeCamera, log: RerunLog) -> None:
        self.frames = 0
        self._entity = camera.name or 'camera'
        self._log = log
        self._decoder: ImageDecoder[int] = ImageDecoder(camera.image_type, None, lambda stamp_ns, error: None)
        self._images: _Newest[Pixels] = _Newest()
        self._results: _Newest[InstanceMaskArray] = _Newest()
        subscribe = partial(player.node.create_subscription, qos_profile=_QUALITY)
        subscribe(message_class(camera.image_type), camera.image_topic, self._on_image, raw=True)
        subscribe(InstanceMaskArray, camera.instances_topic, self._on_result)

    def _on_image(self, data: bytes) -> None:
        try:
            stamp_ns = read_header(data)[0]
        except BagError:  # the node says so
            return
        for image_stamp_ns, pixels in self._decoder.take(stamp_ns, data):
            if not isinstance(pixels, NoPixels):
                self._images.put(image_stamp_ns, pixels, len(data))
                if (result := self._results.take(image_stamp_ns)) is not None:
                    self._show(result)

    def _on_result(self, message: InstanceMaskArray) -> None:
        stamp_ns = message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec
        if stamp_ns in self._images:
            self._show(message)
        else:
            self._results.put(stamp_ns, message, sum(len(each.mask_data) for each in message.instances))

    def _show(self, message: InstanceMaskArray) -> None:
        stamp_ns = message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec
        image = _decoded(self._images.take(stamp_ns))
        instances = to_instances(message)
        visible = instances[np.flatnonzero(np.asarray(instances.states) != LOST)]
        record = frame_record(self.frames, stamp_ns, '', message.epoch, visible, frame_id=message.header.frame_id)
        self._log.add_frame(self._entity, record, image)
        self._log.add_names()
        self.frames += 1


def _decoded(pixels: Pixels | None) -> NDArray[np.uint8] | None:
    """An image; None without one, or if it cannot be read: the node has answered another one with that stamp."""
    try:
        return None if pixels is None else pixels()
    except (ImageError, BagError):
        return None


class _Newest(Generic[Value]):
    """Values by stamp in nanoseconds, of which only the newest are kept: a slow node answers an image seconds later."""

    _MOST = 150
    _MOST_BYTES = 1 << 29

    def __init__(self) -> None:
        self._values: dict[int, tuple[Value, int]] = {}
        self._bytes = 0

    def __contains__(self, stamp_ns: int) -> bool:
        return stamp_ns in self._values

    def put(self, stamp_ns: int, value: Value, size: int) -> None:
        """Keep a value that has `size` bytes."""
        self._drop(stamp_ns)
        self._values[stamp_ns] = value, size
        self._bytes += size
        while len(self._values) > self._MOST or (self._bytes > self._MOST_BYTES and len(self._values) > 1):
            self._drop(next(iter(self._values)))

    def take(self, stamp_ns: int) -> Value | None:
        """Remove and return a value. Those before it are dropped: what they wait for would have come before."""
        if stamp_ns not in self._values:
            return None
        while (oldest := next(iter(self._values))) != stamp_ns:
            self._drop(oldest)
        value, _ = self._values[stamp_ns]
        self._drop(stamp_ns)
        return value

    def _drop(self, stamp_ns: int) -> None:
        _, size = self._values.pop(stamp_ns, (None, 0))
        self._bytes -= size
