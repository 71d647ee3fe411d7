"""The process of the node: its signals and its exit status."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import cv2
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.utilities import remove_ros_args

from vis_ros.node.vis_node import EngineFactory, VisNode
from vis_ros.ros.environment import prepare_environment


class _Signals:
    """Handles SIGINT and SIGTERM; `ros2 launch` may send several.

    At a signal, rclpy stops spinning and then calls the handler set here. Python's own handler would raise
    KeyboardInterrupt wherever the program happens to be, at a second signal even during the shutdown. This one raises
    it only where rclpy cannot stop the program: before rclpy is initialized.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.initialized = False
        for number in self._NUMBERS:
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.initialized:
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """For the rest of the process: the interpreter takes a while to end."""
        for number in self._NUMBERS:
            signal.signal(number, signal.SIG_IGN)


def check_arguments(args: list[str]) -> None:
    """Raise ValueError if some arguments are not ROS arguments or are invalid."""
    try:
        others = remove_ros_args(args)
    except RuntimeError as error:  # of rcl
        raise ValueError(str(error)) from error
    if others:
        raise ValueError(f'{others[0]!r} is not a ROS argument: ROS arguments follow --ros-args')


def main(args: list[str] | None = None, engine_factory: EngineFactory | None = None) -> NoReturn:
    """Run the node, see `run`, and end the process."""
    end_process(run(args, engine_factory))


def end_process(status: int) -> NoReturn:
    """End the process without tearing down the interpreter.

    That would wait for threads that are busy, or crash them; and tearing down torch may take longer than a launch file
    waits before it kills the node.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run(args: list[str] | None = None, engine_factory: EngineFactory | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Returns the exit status of the process.

    Args:
        args: ROS arguments, those of the process by default.
        engine_factory: see `VisNode`.
    """
    prepare_environment()
    # Sharing out a resize or the sums of a mask gains nothing, and waits for cores that the network keeps busy.
    cv2.setNumThreads(1)
    signals = _Signals()
    try:
        rclpy.init(args=args)
        signals.initialized = True
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:  # of rcl, about invalid ROS arguments
        print(f'vis_node: {error}', file=sys.stderr)
        return 1
    node = None
    try:
        node = VisNode(engine_factory)
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    except Exception:
        if rclpy.ok():  # otherwise a signal has shut rclpy down while something was being created
            raise
    finally:
        rclpy.try_shutdown()
        signals.ignore()
    return 0 if node is None else int(node.hangs) or node.exit_status
