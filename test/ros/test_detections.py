"""Objects as vision_msgs. It has no wheel, so stand-ins have exactly the fields of its definitions."""

import math
import sys
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovariance
from helpers.rectangles import GREEN, draw
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header, String

from vis_ros.instances import CONFIRMED, LOST, Instances


class Message:
    """Rejects fields that the definition does not have, and values of another type."""

    FIELDS: ClassVar = {}

    def __init__(self, **values):
        for name, kind in self.FIELDS.items():
            object.__setattr__(self, name, kind())
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        assert name in self.FIELDS, f'{type(self).__name__} has no field {name}'
        assert type(value) is self.FIELDS[name], f'{name} is a {self.FIELDS[name]}, not {value!r}'
        object.__setattr__(self, name, value)


def message(name, **fields):
    return type(name, (Message,), {'FIELDS': fields})


POINT = message('Point2D', x=float, y=float)
POSE = message('Pose2D', position=POINT, theta=float)
BOX = message('BoundingBox2D', center=POSE, size_x=float, size_y=float)
HYPOTHESIS = message('ObjectHypothesis', class_id=str, score=float)
RESULT = message('ObjectHypothesisWithPose', hypothesis=HYPOTHESIS, pose=PoseWithCovariance)
DETECTION = message('Detection2D', header=Header, results=list, bbox=BOX, id=str)
ARRAY = message('Detection2DArray', header=Header, detections=list)
CLASS = message('VisionClass', class_id=int, class_name=str)
LABELS = message('LabelInfo', header=Header, class_map=list, threshold=float)


@pytest.fixture
def detections(monkeypatch):
    """The module, imported with vision_msgs."""
    package, messages = ModuleType('vision_msgs'), ModuleType('vision_msgs.msg')
    for kind in (DETECTION, ARRAY, RESULT, CLASS, LABELS):
        setattr(messages, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, 'vision_msgs', package)
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', messages)
    monkeypatch.delitem(sys.modules, 'vis_ros.ros.vision_msgs', raising=False)
    import vis_ros.ros.vision_msgs

    yield vis_ros.ros.vision_msgs
    sys.modules.pop('vis_ros.ros.vision_msgs')


def instances(**fields):
    boxes = np.array([[10, 20, 30.5, 60], [1, 2, 3, 4], [5, 5, 9, 9], [0, 0, 2, 2]], np.float32)
    masks = [np.ones((1, 1), np.uint8)] * 4
    return Instances(
        (100, 100),
        boxes,
        np.array([0.5, 0.25, 1, 1]),
        np.array([1, 0, 0, 1]),
        [[0, 0, 1, 1]] * 4,
        masks,
        class_names=('cat', 'dog'),
        **fields,
    )


def test_objects_become_detections(detections):
    header = Header(frame_id='camera')
    places = [[0.5, -0.25, 2], [math.nan] * 3, [1, 1, 1], [2, 2, 2]]
    found = instances(track_ids=[7, 8, 0, 9], states=[CONFIRMED] * 3 + [LOST], positions=places)
    array = detections.to_detections(found, header)
    assert array.header is header and [each.id for each in array.detections] == ['7', '8']
    first, second = array.detections
    box, (result,) = first.bbox, first.results
    assert first.header is header
    assert (box.center.position.x, box.center.position.y, box.center.theta) == (20.25, 40, 0)
    assert (box.size_x, box.size_y) == (20.5, 40)
    assert (result.hypothesis.class_id, result.hypothesis.score) == ('dog', 0.5)
    place = result.pose.pose.position
    assert (place.x, place.y, place.z) == (0.5, -0.25, 2)
    assert second.results[0].hypothesis.class_id == 'cat' and math.isnan(second.results[0].pose.pose.position.z)


def test_without_depth_or_identities(detections):
    array = detections.to_detections(instances(track_ids=[1, 2, 3, 4]), Header())
    assert len(array.detections) == 4 and math.isnan(array.detections[0].results[0].pose.pose.position.x)
    assert detections.to_detections(instances(), Header()).detections == []


def test_classes_become_label_info(detections):
    info = detections.to_label_info(('cat', 'dog'), Header(), 0.25)
    assert [(each.class_id, each.class_name) for each in info.class_map] == [(0, 'cat'), (1, 'dog')]
    assert info.threshold == 0.25


def test_the_node_publishes_label_info_for_late_subscribers(graph, monkeypatch):
    """With a message that has a wheel in the place of LabelInfo."""
    monkeypatch.setattr('vis_ros.node.vis_node.LABEL_INFO', String)
    monkeypatch.setattr(
        'vis_ros.node.vis_node.to_label_info', lambda names, header, score: String(data=' '.join(names))
    )
    graph.start(active=False)
    for _ in range(2):  # also when it is configured again
        assert graph.under_test.trigger_configure().name == 'SUCCESS'
        received = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscription = graph.node.create_subscription(String, '/vis_node/label_info', received.append, latched)
        graph.spin_until(lambda received=received: received)
        assert 'green' in received[0].data.split()
        graph.node.destroy_subscription(subscription)
        assert graph.under_test.trigger_cleanup().name == 'SUCCESS'


def test_the_node_runs_without_vision_msgs(graph):
    from vis_ros.ros.vision_msgs import DETECTIONS

    node = graph.start()
    assert graph.process(draw((4, 4, 14, 14, GREEN))).instances
    topics = [publisher.topic_name for publisher in node.publishers]
    assert ('/vis_node/detections' in topics) == (DETECTIONS is not None)
