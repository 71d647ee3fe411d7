"""The camera of the demo: a ROS node in a process of its own that publishes a synthetic scene.

It renders all images first, waits for its subscribers, and measures the response time of the tracker, one image at a
time. When its start file appears, it resets the tracker and publishes the scene at a rate that the tracker can sustain.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from vis_ros.msg import InstanceMaskArray
from vis_ros.ros.environment import prepare_environment
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import nanoseconds
from vis_ros.synthetic.scene import Scene
from vis_ros.whole_file import write_whole

IMAGE_TOPIC = '/camera/image'
TRACKER = '/vis_node'
FRAME_ID = 'demo_camera_optical_frame'
CALIBRATION_FRAME_ID = 'calibration'
"""Frame id of the images that only serve to measure the response time."""

_HIGHEST_RATE = 30.0
_LOAD = 0.7  # share of the time that the tracker may be busy, since other processes use the processor too
_CALIBRATION_IMAGES = 12
_CALIBRATION_WARM_UP = 3
_RESPONSE_TIMEOUT_S = 20.0
_RESEND_S = 2.0


class SceneCamera(Node):
    """Publishes images on IMAGE_TOPIC. It is reliable, which suits best-effort subscriptions too."""

    def __init__(self) -> None:
        super().__init__('demo_camera')
        quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = self.create_publisher(Image, IMAGE_TOPIC, quality)

    def publish(self, image: NDArray[np.uint8], frame_id: str) -> int:
        """Publish an image, (H, W, 3) uint8 BGR, stamped now. Returns the stamp in nanoseconds."""
        now = self.get_clock().now()
        self._publisher.publish(to_image(image, 'bgr8', Header(stamp=now.to_msg(), frame_id=frame_id)))
        return int(now.nanoseconds)

    def wait_for_subscribers(self, count: int) -> None:
        """Return when there are `count` subscribers."""
        while self._publisher.get_subscription_count() < count:
            rclpy.spin_once(self, timeout_sec=0.05)

    def response_time(self, images: list[NDArray[np.uint8]]) -> float:
        """Publish images one at a time. Returns the 90th percentile of the seconds until the result is received.

        Raises:
            RuntimeError: the tracker does not respond.
        """
        received: list[int | None] = []
        subscription = self.create_subscription(
            InstanceMaskArray,
            f'{TRACKER}/instances',
            lambda message: received.append(nanoseconds(message.header.stamp)),
            10,
        )
        seconds = [self._time_response(image, received) for image in images]
        self.destroy_subscription(subscription)
        return float(np.percentile(seconds[_CALIBRATION_WARM_UP:], 90))

    def _time_response(self, image: NDArray[np.uint8], received: list[int | None]) -> float:
        """Seconds for one image. It is published again now and then, since the first ones may be lost."""
        sent: dict[int, float] = {}
        start = resend = time.perf_counter()
        while not (stamps := [stamp for stamp in sent if stamp in received]):
            now = time.perf_counter()
            if now - start > _RESPONSE_TIMEOUT_S:
                raise RuntimeError(f'{TRACKER} published no result for an image within {_RESPONSE_TIMEOUT_S:.0f} s')
            if now >= resend:
                sent[self.publish(image, CALIBRATION_FRAME_ID)] = now
                resend = now + _RESEND_S
            rclpy.spin_once(self, timeout_sec=0.05)
        return time.perf_counter() - sent[stamps[0]]

    def wait_for(self, start: Path, image: NDArray[np.uint8]) -> None:
        """Return when a file exists. Publishes an image repeatedly, so that the recorder can connect."""
        while not start.exists():
            self.publish(image, CALIBRATION_FRAME_ID)
            rclpy.spin_once(self, timeout_sec=0.2)
            time.sleep(0.2)

    def reset_tracker(self) -> None:
        """Make the tracker delete all tracks.

        Raises:
            RuntimeError: the tracker does not respond.
        """
        client: Any = self.create_client(Trigger, f'{TRACKER}/reset')
        if not client.wait_for_service(_RESPONSE_TIMEOUT_S):
            raise RuntimeError(f'{TRACKER} does not offer its reset service')
        future: Any = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self, future, timeout_sec=_RESPONSE_TIMEOUT_S)
        if not future.done() or not future.result().success:
            raise RuntimeError(f'{TRACKER} did not reset')
        self.destroy_client(client)

    def play(self, images: list[NDArray[np.uint8]], rate: float) -> list[int]:
        """Publish images at a rate in Hz. Returns their stamps in nanoseconds."""
        start = time.perf_counter()
        stamps = []
        for index, image in enumerate(images):
            time.sleep(max(0.0, start + index / rate - time.perf_counter()))
            stamps.append(self.publish(image, FRAME_ID))
        return stamps


def main() -> None:
    """Play a scene, write the report, and stay until SIGINT, so that no image in flight is lost."""
    arguments = _arguments()
    prepare_environment()
    rclpy.init()
    camera = SceneCamera()
    try:
        scene = Scene(arguments.seed, (arguments.height, arguments.width), arguments.frames)
        images = [scene.frame(index).image for index in range(len(scene))]
        camera.wait_for_subscribers(arguments.subscribers)
        samples = np.linspace(0, len(images) - 1, _CALIBRATION_IMAGES).astype(int)
        response_time = camera.response_time([images[index] for index in samples])
        rate = arguments.rate or min(_HIGHEST_RATE, _LOAD / response_time)
        camera.wait_for(arguments.start, images[0])
        camera.reset_tracker()
        stamps = camera.play(images, rate)
        report = {'rate_hz': rate, 'response_ms': 1000 * response_time, 'stamps_ns': stamps}
        write_whole(arguments.report, json.dumps(report))
        rclpy.spin(camera)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        camera.destroy_node()
        rclpy.try_shutdown()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--height', type=int, required=True)
    parser.add_argument('--width', type=int, required=True)
    parser.add_argument('--frames', type=int, required=True)
    parser.add_argument('--rate', type=float, default=0.0, help='in Hz; 0 takes the rate that the tracker can sustain')
    parser.add_argument('--subscribers', type=int, required=True, help='number of subscribers to wait for')
    parser.add_argument('--start', type=Path, required=True, help='file that appears when the scene may start')
    parser.add_argument('--report', type=Path, required=True, help='JSON file to write after the last image')
    return parser.parse_args()


if __name__ == '__main__':
    main()
