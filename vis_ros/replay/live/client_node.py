"""The ROS node of a program that talks to a running vis_node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vis_ros.ros.environment import prepare_environment


@contextmanager
def client_node(name: str) -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    """A node in a context of its own, on the wall clock whatever the parameters of others say."""
    prepare_environment()
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = Node(
            name,
            context=context,
            use_global_arguments=False,
            parameter_overrides=[Parameter('use_sim_time', value=False)],
        )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            yield node, executor
        finally:
            executor.shutdown()
            node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
