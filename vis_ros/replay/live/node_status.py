"""NodeStatus: what the diagnostics of a vis_node say about it."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus


class NodeStatus:
    """The newest that was heard.

    Args:
        node: fully qualified name of the node, such as /vis_node.

    state: label of its lifecycle state, '' while nothing was heard.
    fault: why it cannot work, or ''.
    engine: what runs its network: 'engine', 'engine device', 'engine precision', ...
    topics: name of each camera ('camera' for one without a name) -> its image topic, '' while it does not listen.
    throttled_log: name of each camera with whose images something is wrong -> what.
    """

    def __init__(self, node: str) -> None:
        self._name = node.lstrip('/')
        self.state = ''
        self.fault = ''
        self.engine: dict[str, str] = {}
        self.topics: dict[str, str] = {}
        self.throttled_log: dict[str, str] = {}

    def hear(self, message: DiagnosticArray) -> None:
        """Take a message of /diagnostics, whoever sent it."""
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if status.name == self._name:
                self.state = values.get('state', '')
                self.fault = status.message if status.level == DiagnosticStatus.ERROR else ''
                self.engine = {key: value for key, value in values.items() if key.startswith('engine')}
            elif status.name.startswith(f'{self._name}: '):
                camera = status.name.removeprefix(f'{self._name}: ')
                self.topics[camera] = values.get('topic', '')
                self.throttled_log.pop(camera, None)
                if status.level != DiagnosticStatus.OK:
                    self.throttled_log[camera] = status.message
