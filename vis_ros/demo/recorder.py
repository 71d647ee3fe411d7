"""Recorder: writes what camera and tracker publish into a bag, byte for byte, and keeps the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from vis_ros.demo.scene_camera import CALIBRATION_FRAME_ID, IMAGE_TOPIC, TRACKER
from vis_ros.msg import InstanceMaskArray
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import read_header
from vis_ros.recordings.topics import IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.replay.live.node_status import NodeStatus


@dataclass(frozen=True)
class TrackerReply:
    """One InstanceMaskArray as it came.

    stamp_ns: of the image that it belongs to; received_ns: when it came; data: the serialised message.
    """

    stamp_ns: int
    received_ns: int
    data: bytes


class Recorder(Node):
    """Subscribes to images and answers; as a context manager it closes the bag.

    answers: of the scene, in the order of arrival; those to calibration images are left out.
    images: how many images of the scene have come.
    status: what the tracker's diagnostics say.
    hears_images, hears_answers: DDS has connected it with camera and tracker; what was sent before is lost to it.
    """

    def __init__(self, bag: Path) -> None:
        super().__init__('demo_recorder')
        self.answers: list[TrackerReply] = []
        self.images = 0
        self.status = NodeStatus(TRACKER)
        self.hears_images = self.hears_answers = False
        self._instances_topic = f'{TRACKER}/instances'
        self._bag = BagWriter(bag)
        self._bag.add_topic(IMAGE_TOPIC, IMAGE_TYPE)
        self._bag.add_topic(self._instances_topic, INSTANCES_TYPE)
        quality = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, IMAGE_TOPIC, self._on_image, quality, raw=True)
        self.create_subscription(InstanceMaskArray, self._instances_topic, self._on_instances, quality, raw=True)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.status.hear, 10)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bag.close()
        self.destroy_node()

    def _on_image(self, data: bytes) -> None:
        _, frame_id = read_header(data)
        self.hears_images = True
        if frame_id != CALIBRATION_FRAME_ID:
            self.images += 1
            self._bag.write(IMAGE_TOPIC, self.get_clock().now().nanoseconds, data)

    def _on_instances(self, data: bytes) -> None:
        stamp_ns, frame_id = read_header(data)
        self.hears_answers = True
        if frame_id != CALIBRATION_FRAME_ID:
            received_ns = int(self.get_clock().now().nanoseconds)
            self.answers.append(TrackerReply(stamp_ns, received_ns, data))
            self._bag.write(self._instances_topic, received_ns, data)
