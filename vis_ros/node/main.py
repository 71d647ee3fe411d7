"""The process of the node: its signals and its exit status."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.utilities import remove_ros_args

from vis_ros.node.vis_node import EngineFactory, VisNode
from vis_ros.ros.environment import prepare_environment


class _Signals:
    """Handles SIGINT and SIGTERM; `ros2 launch` may send several.

    At a signal, rclpy stops spinning and then calls the handler set here. Python's own handler would raise
    KeyboardInterrupt wherever the program happens to be, at a second signal even during the shutdown. This one raises
    it only where rclpy cannot stop the program: before rclpy is initialized, and once while the node loads its model.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.initialized = False
        self.node: VisNode | None = None
        for number in self._NUMBERS:
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.initialized:
            raise KeyboardInterrupt
        if self.node is None:
            return
        self.node.is_interrupted = True
        if self.node.is_loading:
            self.node.is_loading = False
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


def main(args: list[str] | None = None, engine_factory: EngineFactory | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Returns the exit status of the process.

    Args:
        args: ROS arguments, those of the process by default.
        engine_factory: see `VisNode`.
    """
    prepare_environment()
    signals = _Signals()
    try:
        rclpy.init(args=args)
        signals.initialized = True
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:  # of rcl, about invalid ROS arguments
        print(f'vis_node: {error}', file=sys.stderr)
        return 1
    try:
        signals.node = VisNode(engine_factory)
        try:
            rclpy.spin(signals.node)
        finally:
            signals.node.destroy_node()
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    except Exception:
        if rclpy.ok():  # otherwise a signal has shut rclpy down while something was being created
            raise
    finally:
        rclpy.try_shutdown()
        signals.ignore()
    if signals.node is None:
        return 0
    if signals.node.hangs:
        sys.stdout.flush()
        os._exit(1)  # the interpreter would wait for the thread that hangs, or crash it
    return signals.node.exit_status
