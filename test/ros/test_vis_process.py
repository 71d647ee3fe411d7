"""The node as a process: started, used and stopped as a user would."""

import re
import shutil
import signal
from functools import partial

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.image_messages import image_message
from helpers.processes import HERE, REAL_NODE, RECTANGLE_NODE
from helpers.rectangles import RED, draw
from lifecycle_msgs.srv import GetState
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger


def test_every_image_gives_an_array_until_two_interrupts(graph, start):
    process = start(RECTANGLE_NODE)
    graph.connect()
    for step in range(10):
        array = graph.process(draw((2 + 4 * step, 4, 12 + 4 * step, 14, RED)))
        assert array.header.frame_id == 'camera_optical_frame'
        assert [instance.track_id for instance in array.instances] == [1]
    process.signal(signal.SIGINT)
    process.signal(signal.SIGINT)
    code, output = process.end()
    assert code == 0, output
    assert 'Traceback' not in output and 'ERROR' not in output


@pytest.mark.parametrize('numbers', [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]])
def test_a_busy_node_ends_cleanly(graph, start, numbers):
    process = start(RECTANGLE_NODE, VIS_TEST_INFER_S='0.5')
    graph.connect()
    graph.send(draw())
    graph.spin_for(0.1)  # while the network runs for half a second
    for number in numbers:
        process.signal(number)
    code, output = process.end()
    assert code == 0, output
    assert 'Traceback' not in output and 'ERROR' not in output


def test_a_loading_node_ends_at_once(graph, start):
    process = start(RECTANGLE_NODE, VIS_TEST_LOAD_S='600')
    graph.status(lambda status, values: values['state'] == 'configuring', 'vis_node')
    process.signal(signal.SIGINT)
    process.signal(signal.SIGINT)
    code, output = process.end()
    assert code == 0, output
    assert 'Traceback' not in output and 'ERROR' not in output


def test_a_node_ends_with_an_error_when_its_device_is_lost(graph, start):
    process = start(RECTANGLE_NODE, VIS_TEST_LOST='1')
    camera = graph.publisher(Image, '/image')
    for _ in range(300):
        camera.publish(image_message(draw((2, 4, 12, 14, RED))))
        graph.spin_for(0.2)
        if process.has_ended:
            break
    code, output = process.end(timeout_s=1)
    assert code == 1
    assert 'the GPU is lost: restart' in output and 'Traceback' not in output


def test_a_slow_network_skips_images_and_counts_them(graph, start):
    start(RECTANGLE_NODE, VIS_TEST_INFER_S='0.3')
    graph.connect()
    for step in range(40):
        stamp = graph.send(draw((2 + step, 4, 12 + step, 14, RED)))
        graph.spin_for(0.03)
    while graph.arrays[-1].header.stamp != stamp:  # the newest one is skipped only if best effort lost it
        stamp = graph.send(draw())
        graph.spin_for(0.5)
    _, values = graph.status(lambda status, values: values['images processed'] == str(len(graph.arrays)))
    skipped = sum(array.dropped for array in graph.arrays)
    assert skipped > 0
    on_the_way = int(values['images lost']) + int(values['images replaced'])
    assert skipped + len(graph.arrays) == int(values['images received']) + on_the_way
    assert int(values['images dropped']) + on_the_way == skipped
    assert [array.sequence for array in graph.arrays] == list(range(1, len(graph.arrays) + 1))
    times = [(array.header.stamp.sec, array.header.stamp.nanosec) for array in graph.arrays]
    assert times == sorted(times)


def test_a_bag_that_loops_resets_a_node_on_simulated_time(graph, start):
    start(RECTANGLE_NODE, '-p', 'use_sim_time:=true')
    clock = graph.publisher(Clock, '/clock', 1)
    graph.connect(Time(sec=9))
    epochs = []
    for _ in range(2):
        for second in (10, 11, 12):
            stamp = Time(sec=second)
            clock.publish(Clock(clock=stamp))
            epochs.append(graph.process(draw((4, 4, 14, 14, RED)), stamp).epoch)
    graph.spin_for(0.3)
    epochs.append(graph.process(draw((4, 4, 14, 14, RED)), stamp).epoch)
    assert [epoch - epochs[0] for epoch in epochs] == [0, 0, 0, 1, 1, 1, 1]


def test_reset_by_service(graph, start):
    start(RECTANGLE_NODE)
    graph.connect()
    epoch = graph.process(draw((4, 4, 14, 14, RED))).epoch
    assert f'epoch {epoch + 1}' in graph.call(Trigger, '/vis_node/reset', Trigger.Request()).message
    assert graph.process(draw((4, 4, 14, 14, RED))).epoch == epoch + 1


def test_a_restarted_node_starts_a_new_epoch(graph, start):
    """Otherwise track 1 of the new process could be mistaken for track 1 of the old one."""
    arrays = []
    for _ in range(2):
        process = start(RECTANGLE_NODE)
        graph.arrays.clear()
        graph.connect()
        arrays.append(graph.process(draw((4, 4, 14, 14, RED))))
        process.signal(signal.SIGKILL)
        process.end()
    assert [[instance.track_id for instance in array.instances] for array in arrays] == [[1], [1]]
    assert 0 < arrays[0].epoch < arrays[1].epoch < 2**31


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_node_whose_network_hangs_can_be_stopped(graph, start, number):
    process = start(RECTANGLE_NODE, VIS_TEST_INFER_S='600')
    graph.status(lambda status, values: values['state'] == 'active', 'vis_node')
    hangs = partial(graph.reported, lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    graph.send_until(hangs, draw())
    process.signal(number)
    code, output = process.end()
    assert code == 1, output
    assert 'inference is still running after 3 s' in output and 'Traceback' not in output


def test_the_real_node_without_weights_reports_it_and_keeps_running(graph, start):
    process = start(REAL_NODE, '-p', 'weights:=/nowhere/missing.safetensors')
    status, _ = graph.status(
        lambda status, values: status.level == DiagnosticStatus.ERROR and values['state'] == 'unconfigured',
        'vis_node',
        60,
    )
    assert '/nowhere/missing.safetensors' in status.message
    state = graph.call(GetState, '/vis_node/get_state', GetState.Request()).current_state.label
    assert state == 'unconfigured'
    process.signal(signal.SIGINT)
    process.signal(signal.SIGINT)
    code, output = process.end()
    assert code == 0, output
    assert 'Traceback' not in output
    assert len(re.findall('missing.safetensors', output)) == 1, output


@pytest.mark.skipif(
    shutil.disk_usage('/dev/shm').free < 256e6, reason='two segments of 64 MiB need more shared memory than there is'
)
def test_a_real_camera_image_arrives(graph, start):
    """640x480 from a best-effort publisher with the transport profile of the package, which it needs."""
    camera = HERE / 'camera_process.py'
    start(RECTANGLE_NODE, '-r', 'image:=/camera/image')
    start([str(camera)])
    graph.spin_until(lambda: len(graph.arrays) >= 5, 60)
    array = graph.arrays[-1]
    assert (array.image_height, array.image_width) == (480, 640)
    (found,) = array.instances
    assert np.isclose(found.centroid_x, 320, atol=1) and found.class_name == 'green'
