"""The configuration of RViz for the topics of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_POSITIONS = 'rviz_default_plugins/MarkerArray'


def rviz_config(
    template: Mapping[str, Any],
    node: str,
    images: Mapping[str, str],
) -> dict[str, Any]:
    """config/vis.rviz with one set of displays for each camera.

    Args:
        template: the content of config/vis.rviz: its topics are /image and those of /vis_node.
        node: full name of the node.
        images: name of each camera, '' for the only one -> its image topic as the node subscribes to it.
    """
    manager = template['Visualization Manager']
    displays = [_display(each, node, camera, images[camera]) for camera in images for each in manager['Displays']]
    return {**template, 'Visualization Manager': {**manager, 'Displays': displays}}


def _display(display: Mapping[str, Any], node: str, camera: str, image: str) -> dict[str, Any]:
    topic: str = display['Topic']['Value']
    topic = image if topic == '/image' else topic.replace('/vis_node', f'{node}/{camera}'.rstrip('/'))
    name = f'{display["Name"]} {camera}'.rstrip()
    return {**display, 'Name': name, 'Topic': {**display['Topic'], 'Value': topic}}


def with_fixed_frame(config: Mapping[str, Any], frame: str) -> dict[str, Any]:
    """The configuration with this fixed frame, in which the positions are shown."""
    manager = config['Visualization Manager']
    displays = [
        each | {'Enabled': True, 'Value': True} if each['Class'] == _POSITIONS else each for each in manager['Displays']
    ]
    options = manager['Global Options'] | {'Fixed Frame': frame}
    return {**config, 'Visualization Manager': {**manager, 'Displays': displays, 'Global Options': options}}


def resolved(namespace: str, name: str) -> str:
    """The full name of a topic or node in a namespace."""
    return name if name.startswith('/') else '/'.join(['', *filter(None, [namespace.strip('/'), name])])


def image_topics(cameras: Sequence[str], image: str, namespace: str, transport: str) -> dict[str, str]:
    """The image topic of each camera, as `images` of `rviz_config`.

    Args:
        cameras: their names, [''] for one without a name.
        image: what the topic `image` of a camera without a name is remapped to.
        namespace: of the node.
        transport: of the images, one of TRANSPORTS.
    """
    ending = '' if transport == 'raw' else f'/{transport}'
    return {each: resolved(namespace, f'{each}/image' if each else image) + ending for each in cameras}
