"""Messages of vision_msgs, if it is installed: objects of an image as Detection2DArray, classes as LabelInfo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from std_msgs.msg import Header

from vis_ros.instances import LOST, Instances

try:
    from vision_msgs.msg import Detection2D, Detection2DArray, LabelInfo, ObjectHypothesisWithPose, VisionClass
except ImportError:  # optional
    Detection2D = Detection2DArray = LabelInfo = ObjectHypothesisWithPose = VisionClass = None

DETECTIONS: Any = Detection2DArray
LABEL_INFO: Any = LabelInfo
"""Types of the messages, None if vision_msgs is not installed."""

_NOWHERE = (math.nan, math.nan, math.nan)


def to_detections(instances: Instances, header: Header) -> Any:
    """A Detection2DArray: boxes, with the track id as `id`, the class name as `class_id` and the position in the
    pose, NaN where it is unknown. Objects without a track and LOST tracks are left out.
    """
    array = Detection2DArray(header=header)
    if instances.track_ids is None:
        return array
    seen = instances.track_ids > 0
    if instances.states is not None:
        seen &= instances.states != LOST
    for index in np.flatnonzero(seen).tolist():
        x0, y0, x1, y1 = instances.boxes[index].tolist()
        detection, result = Detection2D(header=header), ObjectHypothesisWithPose()
        detection.id = str(instances.track_ids[index])
        detection.bbox.size_x, detection.bbox.size_y = x1 - x0, y1 - y0
        detection.bbox.center.position.x, detection.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        result.hypothesis.class_id = instances.names[index]
        result.hypothesis.score = float(instances.scores[index])
        place = result.pose.pose.position
        place.x, place.y, place.z = _NOWHERE if instances.positions is None else instances.positions[index].tolist()
        detection.results.append(result)
        array.detections.append(detection)
    return array


def to_label_info(class_names: Sequence[str], header: Header, threshold: float) -> Any:
    """A LabelInfo: the name of each class id, and the lowest score of a detection; 0 for that of the model."""
    classes = [VisionClass(class_id=index, class_name=name) for index, name in enumerate(class_names)]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)
