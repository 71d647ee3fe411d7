"""The node: parameters that change, and lifecycle transitions."""

import gc
import hashlib
import math
import os
import threading
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.passing_rectangles import ids, scene
from helpers.rectangles import RED, RectangleEngine, draw
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from vis_ros.msg import InstanceMask

from vis_ros.networks.named_weights import path_of
from vis_ros.node.parameters import read

# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'value', 'named'),
    [
        ('score_threshold', 1.5, 'score_threshold'),
        ('new_track_score', -0.1, 'new_track_score'),
        ('max_identities', 0, 'max_identities'),
        ('mask_encoding', 'polygon', 'mono8'),
        ('max_age_s', 5000, 'max_age_s is 5000.0, but must be from 0.0 to 3600.0'),
        ('max_age_s', 'long', "max_age_s is 'long', but must be float"),
        ('max_age_s', True, 'max_age_s is True, but must be float'),
        ('weights', 'other', 'unconfigured'),
        ('cameras', ['front'], 'unconfigured'),
        ('autostart', True, 'read-only'),
    ],
)
def test_an_invalid_change_is_rejected_while_active(graph, name, value, named):
    node = graph.start()
    before = node.get_parameter(name).value
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and named in result.reason
    assert node.get_parameter(name).value == before
    assert ids(graph.process(scene(0))) == [1, 2]


@pytest.mark.parametrize(
    ('name', 'value'), [('new_track_score', 1.0000005), ('max_age_s', -1e-9), ('new_track_score', math.nan)]
)
def test_a_value_just_outside_its_range_is_rejected(graph, name, value):
    """Rclpy accepts it, and using it would raise in the executor."""
    node = graph.start()
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and name in result.reason
    assert ids(graph.process(scene(0))) == [1, 2]


def test_a_wrong_value_at_the_start_is_told_with_its_parameter(graph):
    node = graph.start(active=False, cli_args=['--ros-args', '-p', 'model:=feelvoss', '-p', "max_objects:='many'"])
    model, objects = (node._parameter_faults[name] for name in ('model', 'max_objects'))
    assert model.startswith("model is 'feelvoss', but must be one of 'auto'") and model.endswith("'feelvos'")
    assert objects == "max_objects is 'many', but must be int"


def test_an_int_is_a_float(graph):
    """As in a parameter file that is read offline."""
    node = graph.start(max_age_s=2, new_track_score=0)
    assert read(node).max_age_s == 2.0 and read(node).new_track_score == 0.0
    assert node.set_parameters([Parameter('max_age_s', value=5)])[0].successful
    assert read(node).max_age_s == 5.0 and type(read(node).max_age_s) is float
    assert ids(graph.process(scene(0))) == [1, 2]


def test_thresholds_change_while_active(graph):
    node = graph.start(score_threshold=0.2, new_track_score=0.9)
    dim = (180, 80, 80)  # saturation 100 / 255
    picture = draw((2, 4, 12, 14, RED), (50, 28, 60, 40, dim))
    assert [i.class_name for i in graph.process(picture).instances] == ['red']
    assert node.set_parameters([Parameter('new_track_score', value=0.3)])[0].successful
    assert [i.class_name for i in graph.process(picture).instances] == ['red', 'blue']
    assert node.set_parameters([Parameter('score_threshold', value=0.5)])[0].successful
    assert [i.class_name for i in graph.process(picture).instances] == ['red']
    (result,) = node.set_parameters([Parameter('score_threshold', value=0.1)])
    assert not result.successful and '0.1' in result.reason and '0.2' in result.reason
    assert node.set_parameters([Parameter('mask_encoding', value='rle')])[0].successful
    assert graph.process(picture).instances[0].mask_encoding == InstanceMask.MASK_RLE


@pytest.mark.parametrize(
    ('name', 'bad', 'good', 'named'),
    [
        ('new_track_score', 7.0, 0.5, '7.0'),
        ('max_identities', 2.5, 10, '2.5'),
        ('association', 'hungarian', 'one_to_one', "'hungarian'"),
        ('cameras', ['a b'], [''], "'a b'"),
        ('cameras', ['left', 'left'], ['left'], 'twice'),
        ('cameras', [], ['left'], 'cameras'),
        ('input_height', 320, 0, 'input_width is 0'),
    ],
)
def test_an_invalid_parameter_at_start_fails_configuration_until_it_is_corrected(graph, name, bad, good, named):
    node = graph.start(active=False, **{name: bad})
    assert node.trigger_configure().name == 'FAILURE'
    status, _ = graph.status(lambda status, values: values['state'] == 'unconfigured', 'vis_node')
    assert status.level == DiagnosticStatus.ERROR and name in status.message and named in status.message
    assert node.set_parameters([Parameter(name, value=good)])[0].successful
    assert node.trigger_configure().name == 'SUCCESS'


# --- lifecycle --------------------------------------------------------------------------------------------------------


def test_autostart_activates_by_itself(graph):
    graph.start(active=False, autostart=True)
    assert ids(graph.process(scene(0))) == [1, 2]


def missing_weights(weights, **_arguments):
    raise FileNotFoundError(f'no weights {weights!r}; fetch them with: vis-ros weights fetch {weights}')


def test_missing_weights_fail_configuration_and_can_be_corrected(graph):
    def factory(weights, **arguments):
        return (RectangleEngine if weights == 'here' else missing_weights)(weights, **arguments)

    node = graph.start(active=False, engine_factory=factory, weights='elsewhere', autostart=True)
    status, _ = graph.status(lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    assert 'vis-ros weights fetch elsewhere' in status.message
    graph.spin_until(lambda: graph.logged('vis-ros weights fetch elsewhere'))
    assert len(graph.logged('weights fetch')) == 1
    assert node.trigger_configure().name == 'FAILURE'
    assert node.set_parameters([Parameter('weights', value='here')])[0].successful
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]


def test_the_engine_gets_the_parameters(graph):
    got = {}

    def factory(weights, **arguments):
        got.update(weights=weights, **arguments)
        return RectangleEngine()

    graph.start(
        engine_factory=factory, weights='w', model='mask_rcnn', device='cpu', precision='bf16', threads=2,
        input_height=320, input_width=512, score_threshold=0.25, max_detections=7, accuracy_check=False,
        cameras=['front', 'left'],
    )  # fmt: skip
    assert got == {
        'weights': 'w', 'model': 'mask_rcnn', 'engine': 'auto', 'device': 'cpu', 'precision': 'bf16',
        'input_size': (320, 512), 'score_threshold': 0.25, 'max_detections': 7, 'threads': 2, 'accuracy_check': False,
        'batch': 2,
    }  # fmt: skip


def test_an_inactive_node_does_not_subscribe_but_publishes_diagnostics(graph):
    node = graph.start()
    graph.process(scene(0))
    assert node.trigger_deactivate().name == 'SUCCESS'
    assert node.count_subscribers('/image') == 0
    status, values = graph.status(lambda status, values: True)
    assert status.level == DiagnosticStatus.STALE and 'inactive' in status.message
    _, values = graph.status(lambda status, values: True, 'vis_node')
    assert values['state'] == 'inactive' and values['engine model'] == 'rectangles'
    assert values['weights SHA-256'] == hashlib.sha256(path_of('demo').read_bytes()).hexdigest()
    assert (values['engine precision'], values['engine note'], values['engine unconverged']) == ('uint8', '', '0')
    assert node.trigger_cleanup().name == 'SUCCESS'
    status, values = graph.status(lambda status, values: values['state'] == 'unconfigured', 'vis_node')
    assert status.level == DiagnosticStatus.STALE and 'engine' not in values
    answer = graph.call(Trigger, '/vis_node/reset', Trigger.Request())
    assert not answer.success and 'unconfigured' in answer.message


def test_an_error_frees_everything_and_leaves_a_configurable_node(graph, monkeypatch):
    node = graph.start()
    stop, faults = node._stop, [RuntimeError('once')]

    def fail_once():
        if faults:
            raise faults.pop()
        stop()

    monkeypatch.setattr(node, '_stop', fail_once)
    assert node.trigger_deactivate().name == 'ERROR'
    assert node.count_subscribers('/image') == 0
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]


def test_each_activation_starts_an_epoch_that_was_never_used(graph):
    node = graph.start()
    epochs = [graph.process(scene(0)).epoch]
    node.trigger_deactivate()
    node.trigger_activate()
    epochs.append(graph.process(scene(0)).epoch)
    node.trigger_deactivate()
    node.trigger_cleanup()
    node.trigger_configure()
    node.trigger_activate()
    epochs.append(graph.process(scene(0)).epoch)
    assert epochs == [1, 2, 3]
    assert [array.sequence for array in graph.arrays] == [1, 1, 1]


def resident_mb():
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def test_twenty_lifecycles_leak_nothing(graph):
    node = graph.start(active=False)

    def cycle():
        for transition in (node.trigger_configure, node.trigger_activate):
            assert transition().name == 'SUCCESS'
        graph.process(scene(0))
        for transition in (node.trigger_deactivate, node.trigger_cleanup):
            assert transition().name == 'SUCCESS'
        return len(list(node.publishers)), len(list(node.subscriptions)), threading.active_count()

    first = cycle()
    for _ in range(3):
        cycle()
    gc.collect()
    before = resident_mb()
    assert [cycle() for _ in range(16)] == [first] * 16
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == 'vis_worker']
    assert resident_mb() - before < 10
