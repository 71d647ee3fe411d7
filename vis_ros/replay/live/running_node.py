"""RunningNode: finds a running vis_node in the ROS graph and calls its services."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from std_srvs.srv import Trigger

from vis_ros.recordings.topics import INSTANCES_TYPE, TRANSPORTS, transport_of
from vis_ros.replay.live.node_status import NodeStatus
from vis_ros.replay.live.player import Player
from vis_ros.tracking.settings import NodeSettings

_SERVICE_TIMEOUT_S = 10.0
_PARAMETERS = (*(field.name for field in fields(NodeSettings)), 'use_sim_time')


@dataclass(frozen=True)
class NodeCamera:
    """A camera of a running node: its name ('' for one without), its image topic, and the topic of its results."""

    name: str
    image_topic: str
    instances_topic: str

    @property
    def image_type(self) -> str:
        """Type of the messages on the image topic."""
        return TRANSPORTS[transport_of(self.image_topic)]


class RunningNode:
    """A vis_node in another process.

    Args:
        player: runs callbacks while this waits.
        name: fully qualified name of the node.

    status: what its diagnostics report.
    """

    def __init__(self, player: Player, name: str) -> None:
        self.name = '/' + name.strip('/')
        self.status = NodeStatus(self.name)
        self._player = player
        self._client = player.node
        self._client.create_subscription(DiagnosticArray, '/diagnostics', self.status.update, 10)

    def wait_until_active(self, appear_s: float, active_s: float) -> list[NodeCamera]:
        """Wait until the node is active; returns all of its cameras.

        Args:
            appear_s: timeout until a node of this name appears.
            active_s: timeout from then on.

        Raises:
            TimeoutError: there is no such node, or it does not become active; the message lists what was found.
            ConnectionError: the node reports that it cannot work.
            KeyboardInterrupt: the player was stopped.
        """
        exists = self._player.run(appear_s, self._exists)
        is_active = exists and self._player.run(active_s, lambda: bool(self.status.fault or self._cameras()))
        if self._player.stopped:
            raise KeyboardInterrupt
        if not exists:
            raise TimeoutError(self._not_found())
        if self.status.fault:
            raise ConnectionError(f'{self.name} cannot work: {self.status.fault}')
        if not is_active:
            state = f'is {self.status.state}' if self.status.state else 'publishes no diagnostics'
            raise TimeoutError(
                f'{self.name} exists, but {state} and has not subscribed to any images after {active_s:.0f} s. To '
                f'activate a node: `ros2 lifecycle set {self.name} configure`, then `... activate`'
            )
        return self._cameras()

    def parameters(self) -> dict[str, Any]:
        """The parameters of the node by name; empty if it does not respond."""
        response = self._call(GetParameters, 'get_parameters', GetParameters.Request(names=list(_PARAMETERS)))
        if response is None:
            return {}
        return dict(zip(_PARAMETERS, map(parameter_value_to_python, response.values), strict=False))

    def reset(self) -> None:
        """Make the node delete all tracks and start the next epoch.

        Raises:
            ConnectionError: it does not.
            KeyboardInterrupt: the player was stopped.
        """
        response = self._call(Trigger, 'reset', Trigger.Request())
        if self._player.stopped:
            raise KeyboardInterrupt
        if response is None:
            raise ConnectionError(f'{self.name}/reset did not respond within {_SERVICE_TIMEOUT_S:.0f} s')
        if not response.success:
            raise ConnectionError(f'{self.name}/reset failed: {response.message}')

    def _call(self, service_type: type, service: str, request: Any) -> Any:
        """The response of a service of the node, or None after a timeout."""
        client: Any = self._client.create_client(service_type, f'{self.name}/{service}')
        try:
            if not self._player.run(_SERVICE_TIMEOUT_S, client.service_is_ready):
                return None
            future = client.call_async(request)
            return future.result() if self._player.run(_SERVICE_TIMEOUT_S, future.done) else None
        finally:
            self._client.destroy_client(client)

    def _exists(self) -> bool:
        return self.name in self._node_names()

    def _node_names(self) -> list[str]:
        found = self._client.get_node_names_and_namespaces()
        return [f'{namespace.rstrip("/")}/{name}' for name, namespace in found]

    def _cameras(self) -> list[NodeCamera]:
        """All cameras by name if the node is active and all of them are known, else none."""
        image_topics = self.status.topics
        if self.status.state != 'active' or not self._exists():
            return []
        namespace, _, name = self.name.rpartition('/')
        published = self._client.get_publisher_names_and_types_by_node(name, namespace or '/')
        cameras = []
        for topic, types in published:
            if INSTANCES_TYPE in types and topic.startswith(f'{self.name}/') and topic.endswith('/instances'):
                camera = topic[len(self.name) + 1 : -len('/instances')]
                cameras.append(NodeCamera(camera, image_topics.get(camera or 'camera', ''), topic))
        complete = len(cameras) == len(image_topics) and all(camera.image_topic for camera in cameras)
        return sorted(cameras, key=lambda camera: camera.name) if complete else []

    def _not_found(self) -> str:
        own_name = self._client.get_fully_qualified_name()
        others = sorted(set(self._node_names()) - {own_name})
        topics = sorted(topic for topic, types in self._client.get_topic_names_and_types() if INSTANCES_TYPE in types)
        domain, discovery = os.environ.get('ROS_DOMAIN_ID') or '0', os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE')
        return (
            f'there is no node {self.name} in ROS domain {domain}'
            f'{f", discovery range {discovery}" if discovery else ""}. '
            'Start it (`vis-ros node` or `ros2 run vis_ros vis_node`), or give its name with --node. '
            f'Nodes: {", ".join(others) or "none"}; topics with instances: {", ".join(topics) or "none"}'
        )
