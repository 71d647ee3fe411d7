"""RunningNode: the running vis_node that a live replay plays to, as the graph and its diagnostics show it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from std_srvs.srv import Trigger

from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.replay.live.node_status import NodeStatus
from vis_ros.replay.live.player import Player

_SERVICE_S = 10.0
_SETTINGS = ('weights', 'association', 'score_threshold', 'new_track_score', 'mask_encoding', 'use_sim_time')


@dataclass(frozen=True)
class TargetCamera:
    """A camera of the node: its name ('' for the one without), what it listens to and where it answers."""

    name: str
    image_topic: str
    instances_topic: str

    @property
    def image_type(self) -> str:
        return COMPRESSED_TYPE if self.image_topic.endswith('/compressed') else IMAGE_TYPE


class RunningNode:
    """Finds the node and talks to its services.

    Args:
        node: through which to look.
        player: lets time pass while waiting.
        name: of the node that is looked for.
    """

    def __init__(self, node: Node, player: Player, name: str) -> None:
        self.name = '/' + name.strip('/')
        self.status = NodeStatus(self.name)
        self._node = node
        self._player = player
        node.create_subscription(DiagnosticArray, '/diagnostics', self.status.hear, 10)

    def wait(self, appear_s: float, ready_s: float) -> list[TargetCamera]:
        """The cameras of the node, once it is active.

        Args:
            appear_s: how long to wait for a node of this name.
            ready_s: how long, from then on, until it listens to images.

        Raises:
            TimeoutError: there is no such node, or it does not become active; says what there is.
            ConnectionError: the node cannot work; says why.
            KeyboardInterrupt: the player was stopped.
        """
        there = self._player.run(appear_s, self._exists)
        ready = there and self._player.run(ready_s, lambda: bool(self.status.fault or self._cameras()))
        if self._player.stopped:
            raise KeyboardInterrupt
        if not there:
            raise TimeoutError(self._not_there())
        if self.status.fault:
            raise ConnectionError(f'{self.name} cannot work: {self.status.fault}')
        if not ready:
            state = f'is {self.status.state}' if self.status.state else 'sends no diagnostics'
            raise TimeoutError(
                f'{self.name} is there, but {state} and listens to no images after {ready_s:.0f} s. An inactive one '
                f'becomes active by `ros2 lifecycle set {self.name} configure` and `... activate`'
            )
        return self._cameras()

    def settings(self) -> dict[str, Any]:
        """Values of the node's parameters that have to do with its results."""
        response = self._call(GetParameters, 'get_parameters', GetParameters.Request(names=list(_SETTINGS)))
        if response is None:
            return {}
        return dict(zip(_SETTINGS, map(parameter_value_to_python, response.values), strict=False))

    def reset(self) -> None:
        """Make the node forget every identity; its next epoch begins.

        Raises:
            ConnectionError: it does not.
            KeyboardInterrupt: the player was stopped.
        """
        response = self._call(Trigger, 'reset', Trigger.Request())
        if self._player.stopped:
            raise KeyboardInterrupt
        if response is None or not response.success:
            reason = 'does not answer' if response is None else f'says: {response.message}'
            raise ConnectionError(f'{self.name}/reset {reason}')

    def _call(self, kind: type, service: str, request: Any) -> Any:
        """The response of a service of the node, None where there is none."""
        client: Any = self._node.create_client(kind, f'{self.name}/{service}')
        try:
            if not self._player.run(_SERVICE_S, client.service_is_ready):
                return None
            future = client.call_async(request)
            return future.result() if self._player.run(_SERVICE_S, future.done) else None
        finally:
            self._node.destroy_client(client)

    def _exists(self) -> bool:
        return self.name in self._nodes()

    def _nodes(self) -> list[str]:
        return [f'{space.rstrip("/")}/{name}' for name, space in self._node.get_node_names_and_namespaces()]

    def _cameras(self) -> list[TargetCamera]:
        """All cameras of an active node, else none."""
        topics = self.status.topics
        if self.status.state != 'active' or not self._exists():
            return []
        namespace, _, name = self.name.rpartition('/')
        published = self._node.get_publisher_names_and_types_by_node(name, namespace or '/')
        cameras = []
        for topic, types in published:
            if INSTANCES_TYPE in types and topic.startswith(f'{self.name}/') and topic.endswith('/instances'):
                camera = topic[len(self.name) + 1 : -len('/instances')]
                cameras.append(TargetCamera(camera, topics.get(camera or 'camera', ''), topic))
        complete = len(cameras) == len(topics) and all(camera.image_topic for camera in cameras)
        return sorted(cameras, key=lambda camera: camera.name) if complete else []

    def _not_there(self) -> str:
        others = sorted(name for name in set(self._nodes()) if name != self._node.get_fully_qualified_name())
        topics = sorted(topic for topic, types in self._node.get_topic_names_and_types() if INSTANCES_TYPE in types)
        domain, reach = os.environ.get('ROS_DOMAIN_ID') or '0', os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE')
        return (
            f'there is no node {self.name} in ROS domain {domain}{f", range {reach}" if reach else ""}. '
            'Start it (`vis-ros node` or `ros2 run vis_ros vis_node`), or give the name that it has. '
            f'Nodes: {", ".join(others) or "none"}; topics with instances: {", ".join(topics) or "none"}'
        )
