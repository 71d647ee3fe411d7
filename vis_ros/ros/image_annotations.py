"""foxglove_msgs/ImageAnnotations: outlines and labels that Foxglove and Rerun draw over the image."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from vis_ros.instances import BRIDGED, LOST, TENTATIVE, Instances
from vis_ros.ros.new_message import NewMessage, ros_message
from vis_ros.visualization import identity_color
from vis_ros.visualization.outlines import REFERENCE_SIDE, mask_contours
from vis_ros.visualization.palette import ink_on

ANNOTATIONS_TYPE = 'foxglove_msgs/msg/ImageAnnotations'

DEFINITIONS = {
    'Color': 'float64 r\nfloat64 g\nfloat64 b\nfloat64 a\n',
    'Point2': 'float64 x\nfloat64 y\n',
    'CircleAnnotation': 'builtin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\nfloat64 diameter\n'
    'float64 thickness\nfoxglove_msgs/Color fill_color\nfoxglove_msgs/Color outline_color\n',
    'PointsAnnotation': 'builtin_interfaces/Time timestamp\nuint8 UNKNOWN=0\nuint8 POINTS=1\nuint8 LINE_LOOP=2\n'
    'uint8 LINE_STRIP=3\nuint8 LINE_LIST=4\nuint8 type\nfoxglove_msgs/Point2[] points\n'
    'foxglove_msgs/Color outline_color\nfoxglove_msgs/Color[] outline_colors\nfoxglove_msgs/Color fill_color\n'
    'float64 thickness\n',
    'TextAnnotation': 'builtin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\nstring text\n'
    'float64 font_size\nfoxglove_msgs/Color text_color\nfoxglove_msgs/Color background_color\n',
    'ImageAnnotations': 'foxglove_msgs/CircleAnnotation[] circles\nfoxglove_msgs/PointsAnnotation[] points\n'
    'foxglove_msgs/TextAnnotation[] texts\n',
}
"""The interface of foxglove_msgs that is used here, for bags that are written where the package is not installed."""

_LINE_LOOP = 2
_THICKNESS, _FONT = 2.0, 12.0
"""In pixels of an image of REFERENCE_SIDE."""
_TOLERANCE = 1.0
_FILL = 0.25


def annotations_class() -> Any:
    """The generated class of ImageAnnotations for a publisher; None if the ROS installation has no foxglove_msgs."""
    return type(ros_message(ANNOTATIONS_TYPE)) if find_spec('foxglove_msgs') else None


def to_annotations(instances: Instances, stamp: Any, new: NewMessage = ros_message) -> Any:
    """The ImageAnnotations of one image: outlines, filled if the object was detected, and a label for each object.

    LOST tracks, and objects without a track, are left out.

    Args:
        instances: tracked, with class names.
        stamp: builtin_interfaces/Time of the image.
        new: makes the messages.
    """
    message = new(ANNOTATIONS_TYPE)
    if instances.track_ids is None:
        return message
    scale = max(instances.image_size) / REFERENCE_SIDE
    names = instances.names
    for index in np.flatnonzero(instances.track_ids > 0).tolist():
        state = None if instances.states is None else int(instances.states[index])
        if state == LOST:
            continue
        track_id = int(instances.track_ids[index])
        fill = 0.0 if state in (TENTATIVE, BRIDGED) else _FILL
        for contour in mask_contours(instances.masks[index], instances.rois[index].tolist(), _TOLERANCE):
            is_hole = cv2.contourArea(contour, oriented=True) > 0
            message.points.append(_outline(contour, stamp, track_id, 0.0 if is_hole else fill, scale, new))
        text = f'{track_id} {names[index]} {instances.scores[index]:.2f}'
        message.texts.append(_label(text, instances.boxes[index].tolist(), stamp, track_id, scale, new))
    return message


def _outline(contour: Any, stamp: Any, track_id: int, fill: float, scale: float, new: NewMessage) -> Any:
    outline = new('foxglove_msgs/msg/PointsAnnotation')
    outline.timestamp, outline.type, outline.thickness = stamp, _LINE_LOOP, _THICKNESS * scale
    color = identity_color(track_id)
    outline.outline_color, outline.fill_color = _color(color, 1.0, new), _color(color, fill, new)
    for x, y in contour.reshape(-1, 2).tolist():
        outline.points.append(_point(x, y, new))
    return outline


def _label(text: str, box: list[float], stamp: Any, track_id: int, scale: float, new: NewMessage) -> Any:
    label = new('foxglove_msgs/msg/TextAnnotation')
    label.timestamp, label.text, label.font_size = stamp, text, _FONT * scale
    label.position = _point(box[0], box[1], new)
    color = identity_color(track_id)
    label.text_color, label.background_color = _color(ink_on(color), 1.0, new), _color(color, 1.0, new)
    return label


def _point(x: float, y: float, new: NewMessage) -> Any:
    point = new('foxglove_msgs/msg/Point2')
    point.x, point.y = float(x), float(y)
    return point


def _color(bgr: tuple[int, int, int], alpha: float, new: NewMessage) -> Any:
    color = new('foxglove_msgs/msg/Color')
    color.b, color.g, color.r = (channel / 255 for channel in bgr)
    color.a = alpha
    return color
