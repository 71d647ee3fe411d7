"""`vis-ros view --live` as a process: what a running node publishes, in a .rrd file."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
from helpers.image_messages import image_message
from helpers.processes import PACKAGE_ROOT, RECTANGLE_NODE
from helpers.python_path import python_path
from helpers.rectangles import RED, draw
from rclpy.serialization import serialize_message
from rerun.chunk import RrdReader
from std_msgs.msg import Header
from vis_ros.msg import InstanceMaskArray

from vis_ros.replay.live.running_node import NodeCamera
from vis_ros.ros.stamps import to_time
from vis_ros.view.live_view import _LiveCamera, _Newest


def rows_of(file, entity, column):
    """The values of a column of an entity, in the order of the file."""
    found = []
    for chunk in RrdReader(str(file)).stream():
        if chunk.entity_path == entity:
            batch = chunk.to_record_batch()
            if column in batch.schema.names:
                found += batch.column(column).to_pylist()
    return [value for value in found if value is not None]


def test_images_and_objects_of_a_running_node(graph, start, tmp_path):
    start(RECTANGLE_NODE)
    graph.connect()
    command = [sys.executable, '-m', 'vis_ros.cli', 'view', '--live', '--out', str(tmp_path / 'live.rrd')]
    with subprocess.Popen(
        command,
        env=os.environ | {'PYTHONPATH': python_path(PACKAGE_ROOT), 'COLUMNS': '300'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as viewer:
        try:
            graph.spin_until(lambda: graph.node.count_subscribers('/vis_node/instances') > 1)
            graph.spin_until(lambda: graph.node.count_subscribers('/image') > 1)
            for step in range(25):  # the first ones may be lost
                graph.process(draw((2 + step % 8, 4, 12 + step % 8, 14, RED)))
            graph.spin_for(1.0)
            viewer.send_signal(signal.SIGINT)
            output, _ = viewer.communicate(timeout=60)
        finally:
            viewer.kill()  # where the test has failed, it would run on
    assert viewer.returncode == 0 and 'Traceback' not in output, output
    assert '/image and /vis_node/instances; Ctrl-C ends' in output
    masks = rows_of(tmp_path / 'live.rrd', '/camera/image/masks', 'SegmentationImage:buffer')
    images = rows_of(tmp_path / 'live.rrd', '/camera/image', 'EncodedImage:blob')
    labels = rows_of(tmp_path / 'live.rrd', '/camera/image/boxes', 'Boxes2D:labels')
    assert masks and len(images) == len(masks) == len(labels)
    sizes = {int((np.frombuffer(bytes(mask[0]), np.uint16) == 1).sum()) for mask in masks}
    assert sizes == {100} and {label.partition(' ')[0] for (label,) in labels} == {'1'}


def live_camera(graph, shown):
    """A camera whose frames are collected as (stamp in nanoseconds, image)."""
    log = SimpleNamespace(
        add_frame=lambda entity, record, image: shown.append((record['stamp_ns'], image)), add_names=lambda: None
    )
    return _LiveCamera(SimpleNamespace(node=graph.node), NodeCamera('', '/image', '/vis_node/instances'), log)


def test_a_broken_image_with_the_stamp_of_another_one_costs_its_picture_only(graph):
    shown = []
    camera = live_camera(graph, shown)
    for encoding in ('bgr8', 'none of these'):  # of a driver without stamps
        image = image_message(np.zeros((48, 64, 3), np.uint8))
        image.encoding = encoding
        camera._on_image(serialize_message(image))
    camera._on_result(InstanceMaskArray(image_height=48, image_width=64))
    assert shown == [(0, None)]


def test_an_image_that_is_answered_seconds_later_is_shown(graph, monkeypatch):
    shown = []
    camera = live_camera(graph, shown)
    for number in range(1, 121):  # 4 s at 30 Hz
        image = image_message(np.full((48, 64, 3), number, np.uint8))
        image.header.stamp = to_time(number)
        camera._on_image(serialize_message(image))
    for number in (1, 60, 120, 59):
        camera._on_result(InstanceMaskArray(header=Header(stamp=to_time(number)), image_height=48, image_width=64))
    assert [(stamp_ns, int(image[0, 0, 0])) for stamp_ns, image in shown] == [(1, 1), (60, 60), (120, 120)]
    monkeypatch.setattr(_Newest, '_MOST_BYTES', 20_000)
    for number in range(121, 131):
        image.header.stamp = to_time(number)
        camera._on_image(serialize_message(image))
    assert [number for number in range(131) if number in camera._images] == [129, 130]
