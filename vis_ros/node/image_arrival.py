"""Whether images arrive: a camera and a subscriber as two processes, like a camera driver and the node.

`measure_arrival` starts this file twice, with the role of each process as its argument.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from vis_ros.ros.environment import find_wheels, prepare_environment
from vis_ros.ros.isolation import free_domain, python_path
from vis_ros.ros.stamps import nanoseconds

SIZE = (720, 1280)
"""(height, width) of the images in pixels; they are bgr8."""
RATE_HZ = 10.0
COUNT = 30

_TOPIC = 'vis_ros_image_arrival'
_RESULT = 'vis_ros result: '
_CONNECT_TIMEOUT_S = 15.0
_SETTLE_S = 0.5  # discovery is not finished at the moment when one side knows the other
_SILENCE_S = 2.0
_SEGMENT = re.compile(r'/dev/shm/fast(?:dds|rtps)_[0-9a-f]{16}$', re.MULTILINE)


@dataclass(frozen=True)
class ImageArrival:
    """What became of the images that a camera process published best effort.

    sent, received: numbers of images.
    latency_ms: median from publishing to the callback of the subscriber; NaN if none was received.
    transport: what carried them: 'shared memory', 'the network stack', or 'unknown' if none was received.
    errors: what both processes have printed to standard error.
    """

    sent: int
    received: int
    latency_ms: float
    transport: str
    errors: str

    def __str__(self) -> str:
        height, width = SIZE
        text = f'{self.received} of {self.sent} images of {width}x{height} arrived at {RATE_HZ:g} Hz'
        return f'{text} over {self.transport}, {self.latency_ms:.0f} ms after publishing' if self.received else text

    @property
    def is_good(self) -> bool:
        """Whether nearly all images arrived; one or two at the beginning may be lost."""
        return self.received >= 0.9 * self.sent > 0


def measure_arrival(*, camera_has_profile: bool) -> ImageArrival:
    """Publish COUNT images from one process to another, on a ROS domain of their own. Takes 7 to 25 seconds.

    Args:
        camera_has_profile: whether the publishing process uses the transport profile of vis_ros, as the subscriber
            does. Otherwise it uses what a camera driver that was started from the same shell would use.
    """
    command = [sys.executable, '-m', 'vis_ros.node.image_arrival']
    environment = {**os.environ, **python_path(), 'ROS_DOMAIN_ID': str(free_domain())}
    options: dict[str, Any] = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True, 'env': environment}
    role = 'camera_with_profile' if camera_has_profile else 'camera'
    with subprocess.Popen([*command, role], **options) as publishing:
        with subprocess.Popen([*command, 'subscriber', str(publishing.pid)], **options) as receiving:
            result, errors = _result(*receiving.communicate())
        sent, camera_errors = _result(*publishing.communicate())
    result = result or {'latencies_ms': [], 'transport': 'unknown'}
    latencies = result['latencies_ms']
    return ImageArrival(
        sent=int(sent or 0),
        received=len(latencies),
        latency_ms=float(np.median(latencies)) if latencies else float('nan'),
        transport=result['transport'],
        errors=camera_errors + errors,
    )


def _result(output: str, errors: str) -> tuple[Any, str]:
    """What a process returned, None if it failed, and all else that it printed: Fast DDS writes errors to stdout."""
    lines = output.splitlines()
    results = [json.loads(line.removeprefix(_RESULT)) for line in lines if line.startswith(_RESULT)]
    others = [line for line in lines if not line.startswith(_RESULT)]
    return results[-1] if results else None, '\n'.join([*others, errors])


def _publish() -> int:
    """The camera. Returns how many images it has published: none if there is no subscriber in time."""
    node = rclpy.create_node('vis_ros_arrival_camera')
    publisher = node.create_publisher(Image, _TOPIC, qos_profile_sensor_data)
    end = time.monotonic() + _CONNECT_TIMEOUT_S
    while not publisher.get_subscription_count():
        if time.monotonic() > end:
            return 0
        time.sleep(0.02)
    time.sleep(_SETTLE_S)
    height, width = SIZE
    pixels = array('B', bytes(3 * height * width))
    image = Image(height=height, width=width, step=3 * width, encoding='bgr8', data=pixels)
    for _ in range(COUNT):
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)
        time.sleep(1 / RATE_HZ)
    time.sleep(_SILENCE_S)  # the last images are still on their way
    return COUNT


def _receive(camera_pid: int) -> dict[str, Any]:
    """The subscriber. Returns the latencies and the transport."""
    node = rclpy.create_node('vis_ros_arrival_subscriber')
    latencies: list[float] = []

    def receive(message: Image) -> None:
        latencies.append((node.get_clock().now().nanoseconds - (nanoseconds(message.header.stamp) or 0)) / 1e6)

    node.create_subscription(Image, _TOPIC, receive, qos_profile_sensor_data)
    transport, last, limit_s = 'unknown', time.monotonic(), _CONNECT_TIMEOUT_S
    while time.monotonic() - last < limit_s and len(latencies) < COUNT:
        known = len(latencies)
        rclpy.spin_once(node, timeout_sec=0.1)
        if limit_s == _CONNECT_TIMEOUT_S and node.count_publishers(_TOPIC):
            last, limit_s = time.monotonic(), _SETTLE_S + COUNT / RATE_HZ + _SILENCE_S
        if latencies and not known:
            shared = _segments(os.getpid()) & _segments(camera_pid)
            transport = 'shared memory' if shared else 'the network stack'
    return {'latencies_ms': latencies, 'transport': transport}


def _segments(pid: int) -> set[str]:
    """The shared memory of Fast DDS that a process has mapped."""
    try:
        return set(_SEGMENT.findall(Path(f'/proc/{pid}/maps').read_text(encoding='utf-8')))
    except OSError:  # it has ended
        return set()


def main() -> None:
    """Run one of the two processes."""
    role, *arguments = sys.argv[1:]
    if role == 'camera':
        find_wheels()
    else:
        prepare_environment()
    rclpy.init(args=[])
    try:
        result: Any = _receive(int(arguments[0])) if role == 'subscriber' else _publish()
        print(f'\n{_RESULT}{json.dumps(result)}')
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
