"""Prompts on a live stream: requests, responses, images and masks go over DDS."""

import threading
from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from helpers.color_propagator import BLUE, RED, ColorPropagator, ColorPropagators, draw, mask_of
from helpers.delayed_propagators import DelayedPropagators
from rclpy.task import Future
from sensor_msgs.msg import Image, RegionOfInterest
from std_srvs.srv import Trigger
from vis_ros.msg import InstanceMask
from vis_ros.srv import ForgetObject, TrackObject

from vis_ros.masks.encodings import decode
from vis_ros.node.object_request import ObjectRequest
from vis_ros.ros.stamps import nanoseconds


@pytest.fixture
def tracking(graph):
    graph.start(factories={'propagation_factory': ColorPropagators}, model='feelvos', start_from='prompts')
    graph.connect(size=SIZE)
    return graph


SIZE = (96, 160)


def scene(x=10, *others):
    return draw((x, 20, x + 24, 44, RED), *others)


def mono8(mask):
    height, width = mask.shape
    data = array('B', (mask * np.uint8(255)).tobytes())
    return Image(height=height, width=width, encoding='mono8', step=width, data=data)


def track(graph, **fields):
    return graph.call(TrackObject, '/vis_node/track_object', TrackObject.Request(**fields))


def forget(graph, track_id, **fields):
    return graph.call(ForgetObject, '/vis_node/forget_object', ForgetObject.Request(track_id=track_id, **fields))


def pixels_of(message, size=SIZE):
    mask, roi = np.zeros(size, bool), message.roi
    crop = decode(message.mask_data, message.mask_encoding, roi.height, roi.width)
    mask[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width] = crop > 0
    return mask


def ids(message):
    return [instance.track_id for instance in message.instances]


def test_prompted_object_is_in_every_following_image_and_survives_one_second_of_occlusion(tracking):
    first = tracking.process(scene())
    assert not first.instances and first.model == 'feelvos'
    answer = track(tracking, stamp=first.header.stamp, mask=mono8(mask_of(scene(), RED)))
    assert answer.success and answer.track_id == 1 and answer.epoch == first.epoch, answer.message
    for step in range(1, 36):
        hidden = 10 <= step < 20  # at 10 Hz
        image = draw() if hidden else scene(10 + 3 * step)
        message = tracking.process(image)
        assert ids(message) == [answer.track_id]
        (instance,) = message.instances
        assert instance.state == (InstanceMask.LOST if hidden else InstanceMask.CONFIRMED)
        truth = np.zeros((96, 160), bool) if hidden else mask_of(image, RED)
        assert (pixels_of(instance) == truth).all()


def test_point_and_box_take_the_class_of_the_detection(tracking):
    image = scene(10, (90, 20, 120, 50, BLUE))
    tracking.process(image)
    red = track(tracking, use_point=True, point=Point(x=20.0, y=30.0))
    blue = track(tracking, roi=RegionOfInterest(x_offset=88, y_offset=18, width=34, height=34))
    assert red.success and blue.success
    found = {each.track_id: each.class_name for each in tracking.process(image).instances}
    assert found == {red.track_id: 'red', blue.track_id: 'blue'}


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'mask': mono8(np.zeros((96, 160), bool))}, 'empty'),
        ({'mask': mono8(np.ones((10, 20), bool))}, '20x10 pixels, but its image has 160x96'),
        ({'mask': Image(height=1, width=1, encoding='rgb8', step=3, data=[0, 0, 0])}, "encoding 'rgb8'"),
        ({'stamp': Time(sec=1), 'mask': mono8(np.ones((96, 160), bool))}, 'before the newest image'),
        ({'use_point': True, 'point': Point(x=150.0, y=90.0)}, 'no object at the point'),
        ({'roi': RegionOfInterest(width=160, height=96)}, 'the whole image'),
        ({}, 'exactly one of a mask, a box and a point'),
        ({'camera': 'rear', 'use_point': True}, "no camera 'rear'; the only camera has no name: leave camera empty"),
    ],
)
def test_bad_request_is_rejected_with_the_reason_and_other_tracks_continue(tracking, fields, reason):
    tracking.process(scene())
    tracked = track(tracking, mask=mono8(mask_of(scene(), RED)))
    answer = track(tracking, **fields)
    assert not answer.success and reason in answer.message and not answer.track_id
    assert ids(tracking.process(scene(14))) == [tracked.track_id]


def test_limit_and_forgotten_id(graph):
    factories = {'propagation_factory': ColorPropagators}
    graph.start(factories=factories, model='rgmp', start_from='prompts', max_objects=1)
    graph.connect(size=SIZE)
    image = scene(10, (90, 20, 120, 50, BLUE))
    graph.process(image)
    tracked = track(graph, mask=mono8(mask_of(image, RED)))
    refused = track(graph, mask=mono8(mask_of(image, BLUE)))
    assert not refused.success and 'limit' in refused.message
    assert ids(graph.process(image)) == [tracked.track_id]
    assert forget(graph, tracked.track_id).success
    assert ids(graph.process(image)) == []
    again = forget(graph, tracked.track_id)
    assert not again.success and 'tracks are: none' in again.message
    assert track(graph, mask=mono8(mask_of(image, BLUE))).track_id == tracked.track_id + 1


def test_request_is_served_while_no_image_arrives_and_lost_tracks_are_counted(tracking):
    tracking.process(scene())
    track(tracking, mask=mono8(mask_of(scene(), RED)))
    tracking.process(draw())
    _, values = tracking.status(lambda _status, values: values.get('lost tracks') == '1')
    assert (values['tracks'], values['colors']) == ('1', 'of a test')
    assert forget(tracking, 1).success
    _, values = tracking.status(lambda _status, values: 'propagation' in values, name='vis_node')
    assert values['propagation'] == 'colors: numpy'


def test_a_result_wakes_the_executor_once():
    """Set in another thread, it would otherwise be sent when the next image or timer comes."""
    future, woken = Future(), []
    request = ObjectRequest(lambda tracker, seconds: 1, future, lambda: woken.append(future.result().track_id))
    request.accept(7, 1)
    request.reject('too late')
    assert woken == [7]


def test_tracks_can_start_from_detections(graph):
    graph.start(factories={'propagation_factory': ColorPropagators}, model='feelvos')
    graph.connect(size=SIZE)
    for _ in range(12):
        message = graph.process(scene(10))
    assert [instance.class_name for instance in message.instances] == ['red']


def test_model_that_detects_rejects_prompts(graph):
    graph.start()
    graph.connect(size=SIZE)
    answer = track(graph, mask=mono8(np.ones((48, 64), bool)))
    assert not answer.success and 'set bridge to feelvos' in answer.message


def test_a_prompted_object_of_a_bridged_detector_is_followed_where_it_is_not_detected(graph):
    """The detector only sees saturated colors, and not this dark green."""
    dark = (20, 60, 20)
    factories = {'propagation_factory': ColorPropagators}
    graph.start(factories=factories, bridge='feelvos', start_from='prompts', score_threshold=0.5)
    graph.connect(size=SIZE)
    images = [draw((10 + 3 * step, 20, 40 + 3 * step, 50, dark), (120, 50, 150, 80, BLUE)) for step in range(30)]
    (blue,) = ids(graph.process(images[0]))
    answer = track(graph, mask=mono8(mask_of(images[0], dark)))  # while no image comes
    assert answer.success and answer.track_id not in (0, blue)
    for image in images[1:]:
        message = graph.process(image)
        assert ids(message) == [blue, answer.track_id]
        instance = message.instances[1]
        assert (instance.state, instance.class_name) == (InstanceMask.BRIDGED, 'object')
        assert (pixels_of(instance) == mask_of(image, dark)).all()
    assert forget(graph, answer.track_id).success
    assert ids(graph.process(images[-1])) == [blue]


def test_node_that_is_not_active_says_so(graph):
    graph.start(active=False)
    answer = track(graph, use_point=True)
    assert not answer.success and 'unconfigured' in answer.message


def test_missing_weights_fail_the_configuration_with_the_reason(graph):
    node = graph.start(active=False, model='pts', propagation_weights='/nowhere/pts.safetensors')
    assert node.trigger_configure().name == 'FAILURE'
    graph.spin_until(lambda: graph.logged('/nowhere/pts.safetensors'))


def test_a_delayed_model_publishes_an_image_when_the_next_one_has_arrived(graph):
    made = []

    def load(*arguments, **options):
        made.append(DelayedPropagators(*arguments, **options))
        return made[-1]

    graph.start(factories={'propagation_factory': load}, model='maskrnn', delayed=True, start_from='prompts')
    images = [scene(10 + 3 * step) for step in range(5)]
    (camera,) = graph.under_test._cameras

    def send_and_wait(image):
        """Until the worker has it: a new image would replace one that is still in the queue."""
        stamp = graph.send(image)
        graph.spin_until(lambda: camera._waiting is not None and camera._waiting.image.header.stamp == stamp)
        return stamp

    stamps = [send_and_wait(images[0])]
    assert not graph.arrays
    for image in images[1:3]:
        stamps.append(graph.send(image))
        graph.spin_until(lambda: len(graph.arrays) == len(stamps) - 1)
        assert graph.arrays[-1].header.stamp == stamps[-2]
    assert track(graph, stamp=stamps[0], mask=mono8(mask_of(images[0], RED))).success
    stamps.append(graph.send(images[3]))
    graph.spin_until(lambda: len(graph.arrays) == 3)
    message = graph.arrays[-1]
    assert message.header.stamp == stamps[2] and (pixels_of(message.instances[0]) == mask_of(images[2], RED)).all()
    assert made[0].seen == [(16, 19)]
    waited = nanoseconds(stamps[3]) - nanoseconds(stamps[2])
    assert message.latency.sec * 10**9 + message.latency.nanosec >= waited
    graph.call(Trigger, '/vis_node/reset', Trigger.Request())  # the image that waits has no tracks any more
    stamps.append(send_and_wait(images[3]))
    graph.send(images[4])
    graph.spin_until(lambda: len(graph.arrays) == 4)
    assert (graph.arrays[-1].header.stamp, graph.arrays[-1].dropped) == (stamps[-1], 1)


class Gate(ColorPropagator):
    """Its steps wait while the gate is closed."""

    opened = threading.Event()

    def step(self, image, after=None):
        assert self.opened.wait(30)
        return super().step(image)


class GatedPropagators(ColorPropagators):
    def new(self):
        return Gate()


@pytest.fixture
def busy(graph, monkeypatch):
    """The node while an image is in flight: the graph, and a function that sends a request and returns its future."""
    monkeypatch.setattr(Gate, 'opened', threading.Event())
    Gate.opened.set()
    graph.start(factories={'propagation_factory': GatedPropagators}, model='feelvos', start_from='prompts')
    graph.connect(size=SIZE)
    graph.process(scene())
    assert track(graph, mask=mono8(mask_of(scene(), RED))).track_id == 1
    client = graph.node.create_client(ForgetObject, '/vis_node/forget_object')
    graph.spin_until(client.service_is_ready)

    def send_request():
        Gate.opened.clear()
        graph.send(scene())
        graph.spin_until(lambda: graph.under_test._worker.in_flight)
        return client.call_async(ForgetObject.Request(track_id=1))

    yield graph, send_request
    Gate.opened.set()


def test_request_waits_for_the_image_in_flight_and_blocks_nothing_else(busy):
    graph, send_request = busy
    future = send_request()
    assert graph.call(Trigger, '/vis_node/reset', Trigger.Request()).success
    graph.status(lambda status, _values: status.message)
    assert not future.done()
    Gate.opened.set()
    graph.spin_until(future.done)
    # The reset was requested after the prompt, and applies before the request.
    assert not future.result().success and 'tracks are: none' in future.result().message


def test_request_that_times_out_is_rejected_and_never_processed(busy, monkeypatch):
    graph, send_request = busy
    monkeypatch.setattr('vis_ros.node.services.REQUEST_TIMEOUT_S', 0.2)
    future = send_request()
    graph.spin_until(future.done)
    assert not future.result().success and 'busy for 0.2 s' in future.result().message
    Gate.opened.set()
    graph.spin_until(lambda: len(graph.arrays) and graph.arrays[-1].instances)
    assert ids(graph.process(scene())) == [1]


def test_pending_request_is_rejected_when_the_node_is_stopped(busy):
    graph, send_request = busy
    future = send_request()
    graph.spin_until(lambda: graph.under_test._vis_services._pending)
    threading.Timer(0.2, Gate.opened.set).start()
    assert graph.under_test.trigger_deactivate().name == 'SUCCESS'
    graph.spin_until(future.done)
    assert not future.result().success and 'stopped' in future.result().message
