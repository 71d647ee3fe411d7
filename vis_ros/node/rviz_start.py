"""Start RViz in the frame of the camera: the executable `rviz` that vis.launch.py runs if no fixed_frame is given."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import rclpy
import yaml
from ament_index_python.packages import get_package_prefix
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions

from vis_ros.image_headers import ImageError
from vis_ros.recordings.topics import TRANSPORTS, transport_of
from vis_ros.ros.environment import prepare_environment
from vis_ros.ros.new_message import message_class
from vis_ros.ros.rviz_config import with_fixed_frame
from vis_ros.ros.serialized_images import read_header

WAIT_S = 10.0
"""How long RViz waits for the first image. Without one it starts, and does not show the positions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Replace this process by RViz.

    Args:
        arguments: the configuration file for RViz, the image topic, and arguments that RViz gets too; those of the
            process by default.
    """
    file, topic, *others = sys.argv[1:] if arguments is None else arguments
    prepare_environment(sends_images=False)
    try:
        frame = frame_of(topic, WAIT_S)
    except KeyboardInterrupt:
        return 0
    if frame:
        config = yaml.safe_load(Path(file).read_text(encoding='utf-8'))
        Path(file).write_text(yaml.safe_dump(with_fixed_frame(config, frame)), encoding='utf-8')
    else:
        print(
            f'no image with a frame_id on {topic} for {WAIT_S:g} s: RViz shows positions only with fixed_frame:=...',
            flush=True,
        )
    program = Path(get_package_prefix('rviz2'), 'lib', 'rviz2', 'rviz2')
    os.execv(program, [str(program), '-d', file, *others])


def frame_of(topic: str, timeout_s: float) -> str:
    """The frame_id of the next image on a topic that has one; '' if none arrives in time. The name of the
    topic ends in its transport.
    """
    frame = ''

    def receive(data: bytes) -> None:
        nonlocal frame
        with suppress(ImageError):  # not whole: the next one tells
            frame = read_header(data).frame_id

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node('rviz_start')
        node.create_subscription(
            message_class(TRANSPORTS[transport_of(topic)]),
            topic,
            receive,
            qos_profile_sensor_data,
            raw=True,
        )
        end = time.monotonic() + timeout_s
        while not frame and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
    finally:
        rclpy.shutdown()
    return frame
