"""`vis-ros view --live` as a process: what a running node publishes, in a .rrd file."""

import os
import signal
import subprocess
import sys

import numpy as np
from helpers.processes import PACKAGE_ROOT, RECTANGLE_NODE
from helpers.python_path import python_path
from helpers.rectangles import RED, draw
from rerun.chunk import RrdReader


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
