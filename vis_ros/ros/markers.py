"""Markers for RViz: a sphere at the position of each object, labeled with class and track id."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from vis_ros.instances import Instances
from vis_ros.visualization import identity_color

_DIAMETER_M = 0.1
_TEXT_M = 0.12
_LIFETIME_S = 1
"""Markers disappear this many seconds after the node has stopped."""


def to_markers(instances: Instances, header: Header) -> MarkerArray:
    """The markers of one image, which replace all earlier ones. Objects without track or position get none."""
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    if instances.positions is None or instances.track_ids is None:
        return MarkerArray(markers=markers)
    for index in np.flatnonzero(np.isfinite(instances.positions).all(1) & (instances.track_ids > 0)).tolist():
        x, y, z = instances.positions[index].tolist()
        track_id, name = int(instances.track_ids[index]), instances.names[index]
        ball = _marker(header, 'objects', track_id, Marker.SPHERE, Point(x=x, y=y, z=z))
        ball.scale.x = ball.scale.y = ball.scale.z = _DIAMETER_M
        text = _marker(header, 'names', track_id, Marker.TEXT_VIEW_FACING, Point(x=x, y=y - _TEXT_M, z=z))
        text.scale.z, text.text = _TEXT_M, f'{name} {track_id}'
        markers += [ball, text]
    return MarkerArray(markers=markers)


def _marker(header: Header, namespace: str, track_id: int, kind: int, position: Point) -> Marker:
    blue, green, red = (channel / 255 for channel in identity_color(track_id))
    marker = Marker(header=header, ns=namespace, type=kind, action=Marker.ADD)
    marker.id = track_id & 0x7FFFFFFF  # a signed number there
    marker.pose.position = position
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    marker.lifetime = Duration(sec=_LIFETIME_S)
    return marker
