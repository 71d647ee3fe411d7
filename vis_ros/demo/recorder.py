"""Recorder: writes what camera and tracker publish into a bag, byte for byte, and keeps the answers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import Image

from vis_ros.demo.camera import CALIBRATION_FRAME_ID, IMAGE_TOPIC, TRACKER
from vis_ros.msg import InstanceMaskArray
from vis_ros.share import share_file

_BAG_VERSION: Literal[8] = 8  # the newest that Jazzy reads; Humble reads it too


@dataclass(frozen=True)
class Answer:
    """One InstanceMaskArray as it came.

    stamp_ns: of the image that it belongs to; received_ns: when it came; data: the serialised message.
    """

    stamp_ns: int
    received_ns: int
    data: bytes


class Recorder(Node):
    """Subscribes to images and answers; as a context manager it opens and closes the bag.

    answers: of the scene, in the order of arrival; those to calibration images are left out.
    images: how many images of the scene have come.
    engine: what the tracker's diagnostics say about its engine.
    fault: why the tracker cannot work, or ''.
    hears_images, hears_answers: DDS has connected it with camera and tracker; what was sent before is lost to it.
    """

    def __init__(self, bag: Path) -> None:
        super().__init__('demo_recorder')
        self.answers: list[Answer] = []
        self.images = 0
        self.engine: dict[str, str] = {}
        self.fault = ''
        self.hears_images = self.hears_answers = False
        self._writer = Writer(bag, version=_BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict[str, Connection] = {}
        self._instances_topic = f'{TRACKER}/instances'
        quality = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, IMAGE_TOPIC, self._on_image, quality, raw=True)
        self.create_subscription(InstanceMaskArray, self._instances_topic, self._on_instances, quality, raw=True)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def __enter__(self) -> Recorder:
        self._writer.open()
        store = typestore()
        for topic, kind in ((IMAGE_TOPIC, 'sensor_msgs/msg/Image'), (self._instances_topic, _INSTANCES_TYPE)):
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=store)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self.destroy_node()

    def _on_image(self, data: bytes) -> None:
        _, frame_id = read_header(data)
        self.hears_images = True
        if frame_id != CALIBRATION_FRAME_ID:
            self.images += 1
            self._writer.write(self._connections[IMAGE_TOPIC], self.get_clock().now().nanoseconds, data)

    def _on_instances(self, data: bytes) -> None:
        stamp_ns, frame_id = read_header(data)
        self.hears_answers = True
        if frame_id != CALIBRATION_FRAME_ID:
            received_ns = int(self.get_clock().now().nanoseconds)
            self.answers.append(Answer(stamp_ns, received_ns, data))
            self._writer.write(self._connections[self._instances_topic], received_ns, data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == TRACKER.lstrip('/'):
                self.engine = {item.key: item.value for item in status.values if item.key.startswith('engine')}
                self.fault = status.message if status.level == DiagnosticStatus.ERROR else ''


_INSTANCES_TYPE = 'vis_ros/msg/InstanceMaskArray'


def typestore() -> Typestore:
    """The types of a bag with our messages, for rosbags."""
    store = get_typestore(Stores.LATEST)
    for name in ('InstanceMask', 'InstanceMaskArray'):
        text = share_file(f'msg/{name}.msg').read_text(encoding='utf-8')
        store.register(get_types_from_msg(text, f'vis_ros/msg/{name}'))
    return store


def read_header(data: bytes) -> tuple[int, str]:
    """(stamp in nanoseconds, frame id) of a serialised message that begins with a std_msgs/Header (CDR, XCDR1)."""
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds, length = struct.unpack_from(f'{order}iII', data, 4)
    return seconds * 1_000_000_000 + nanoseconds, data[16 : 16 + length - 1].decode()
