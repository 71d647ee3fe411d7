"""NodeStatus: what a vis_node reports about itself on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus


class NodeStatus:
    """The latest status of a node and its cameras.

    Args:
        node: fully qualified name of the node, such as /vis_node.

    state: label of its lifecycle state; '' before the first message.
    fault: why it cannot work, or ''.
    engine: the engine that runs its network: 'engine', 'engine device', 'engine precision', ...
    weights_sha256: of its weights, '' if it does not tell.
    topics: camera name ('camera' for one without a name) -> its image topic; '' while it is not subscribed.
    issues: camera name -> its current warning or error; cameras without one are left out.
    """

    def __init__(self, node: str) -> None:
        self._name = node.lstrip('/')
        self.state = ''
        self.fault = ''
        self.engine: dict[str, str] = {}
        self.weights_sha256 = ''
        self.topics: dict[str, str] = {}
        self.issues: dict[str, str] = {}

    def update(self, message: DiagnosticArray) -> None:
        """Take a message of /diagnostics. The status of other nodes is ignored."""
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if status.name == self._name:
                self.state = values.get('state', '')
                self.fault = status.message if status.level == DiagnosticStatus.ERROR else ''
                self.weights_sha256 = values.get('weights SHA-256', '')
                self.engine = {key: value for key, value in values.items() if key.startswith('engine')}
            elif status.name.startswith(f'{self._name}: '):
                camera = status.name.removeprefix(f'{self._name}: ')
                self.topics[camera] = values.get('topic', '')
                self.issues.pop(camera, None)
                if status.level != DiagnosticStatus.OK:
                    self.issues[camera] = status.message
