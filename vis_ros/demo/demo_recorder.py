"""DemoRecorder: records the topics of camera and tracker into a bag, and keeps the replies of the tracker."""

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
    """An InstanceMaskArray that was received.

    stamp_ns: stamp of its image; received_ns: when it was received, on the same clock; data: the serialized message.
    """

    stamp_ns: int
    received_ns: int
    data: bytes


class DemoRecorder(Node):
    """Subscribes to images and results. It is a context manager that closes the bag.

    Messages about calibration images are not recorded.

    Args:
        bag: the folder to create.

    replies: in the order of arrival.
    status: what the diagnostics of the tracker report.
    is_connected: whether DDS has delivered an image and a result; earlier messages may have been lost.
    """

    def __init__(self, bag: Path) -> None:
        super().__init__('demo_recorder')
        self.replies: list[TrackerReply] = []
        self.status = NodeStatus(TRACKER)
        self._received_image = self._received_instances = False
        self._instances_topic = f'{TRACKER}/instances'
        self._bag = BagWriter(bag)
        self._bag.add_topic(IMAGE_TOPIC, IMAGE_TYPE)
        self._bag.add_topic(self._instances_topic, INSTANCES_TYPE)
        quality = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, IMAGE_TOPIC, self._on_image, quality, raw=True)
        self.create_subscription(InstanceMaskArray, self._instances_topic, self._on_instances, quality, raw=True)
        self.create_subscription(DiagnosticArray, '/diagnostics', self.status.update, 10)

    def __enter__(self) -> DemoRecorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bag.close()
        self.destroy_node()

    @property
    def is_connected(self) -> bool:
        return self._received_image and self._received_instances

    def _on_image(self, data: bytes) -> None:
        _, frame_id = read_header(data)
        self._received_image = True
        if frame_id != CALIBRATION_FRAME_ID:
            self._bag.write(IMAGE_TOPIC, self.get_clock().now().nanoseconds, data)

    def _on_instances(self, data: bytes) -> None:
        stamp_ns, frame_id = read_header(data)
        self._received_instances = True
        if frame_id != CALIBRATION_FRAME_ID:
            received_ns = int(self.get_clock().now().nanoseconds)
            self.replies.append(TrackerReply(stamp_ns, received_ns, data))
            self._bag.write(self._instances_topic, received_ns, data)
