"""The node with several cameras, and with more images than the network can process."""

import time
from dataclasses import replace
from functools import partial

import pytest
from builtin_interfaces.msg import Time
from helpers.engine_gate import EngineGate
from helpers.image_messages import compressed_message
from helpers.passing_rectangles import ids, scene
from helpers.rectangles import GREEN, draw
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vis_ros.msg import InstanceMaskArray

from vis_ros.node.camera import CameraImage
from vis_ros.node.camera_publishers import CameraPublishers
from vis_ros.node.image_subscription import ImageSubscription

# --- several cameras --------------------------------------------------------------------------------------------------


def test_cameras_have_separate_memories_and_topics(graph):
    graph.start(cameras=['front', 'left'])
    front = graph.listen(InstanceMaskArray, '/vis_node/front/instances')
    left = graph.listen(InstanceMaskArray, '/vis_node/left/instances')
    for step in range(3):
        graph.process(scene(step), topic='/front/image', arrays=front)
    graph.process(draw(), topic='/left/image', arrays=left)
    alone = graph.process(draw((4, 4, 14, 14, GREEN)), topic='/left/image', arrays=left)
    assert (alone.sequence, ids(alone)) == (2, [1])
    last = graph.process(scene(3), topic='/front/image', arrays=front)
    assert (last.sequence, ids(last)) == (4, [1, 2])
    for step in range(2):  # the second image confirms that time was set back
        graph.process(scene(0), Time(sec=1, nanosec=step), topic='/left/image', arrays=left)
    assert left[-1].epoch == 2
    assert graph.process(scene(4), topic='/front/image', arrays=front).epoch == 1
    _, values = graph.status(lambda status, values: True, 'vis_node: left')
    assert values['tracks'] == '2' and values['epoch'] == '2'
    answer = graph.call(Trigger, '/vis_node/reset', Trigger.Request())
    assert 'front starts epoch 2' in answer.message and 'left starts epoch 3' in answer.message


def test_images_of_several_cameras_run_as_one_batch(graph):
    """While the network is at the first image of one camera, the two others get an image each."""
    gate, batches = EngineGate(), []

    def factory(*arguments, **settings):
        engine = gate.engine(*arguments, **settings)
        engine.batch, infer = settings['batch'], engine.infer
        engine.infer = lambda images: batches.append(len(images)) or infer(images)
        return engine

    graph.start(engine_factory=factory, cameras=['front', 'left', 'rear'])
    arrays = {
        name: graph.listen(InstanceMaskArray, f'/vis_node/{name}/instances') for name in ('front', 'left', 'rear')
    }
    batches.clear()
    graph.send(scene(0), topic='/front/image')
    graph.spin_until(gate.reached.is_set)
    graph.send(draw((4, 4, 14, 14, GREEN)), topic='/left/image')
    graph.send(scene(1), topic='/rear/image')
    gate.opened.set()
    graph.spin_until(lambda: all(len(each) == 1 for each in arrays.values()))
    assert batches == [1, 2]
    assert [ids(arrays[name][0]) for name in ('front', 'left', 'rear')] == [[1, 2], [1], [1, 2]]


def test_a_batch_that_fails_is_told_and_its_images_run_alone(graph):
    """Without a word, the node would only be slow."""
    gate = EngineGate()

    def factory(*arguments, **settings):
        engine = gate.engine(*arguments, **settings)
        engine.batch, infer = settings['batch'], engine.infer
        engine.infer = lambda images: infer(images) if len(images) == 1 else 1 / 0
        return engine

    graph.start(engine_factory=factory, cameras=['front', 'left', 'rear'])
    arrays = {name: graph.listen(InstanceMaskArray, f'/vis_node/{name}/instances') for name in ('left', 'rear')}
    graph.send(scene(0), topic='/front/image')
    graph.spin_until(gate.reached.is_set)
    for name in arrays:
        graph.send(scene(0), topic=f'/{name}/image')
    gate.opened.set()
    graph.spin_until(lambda: all(len(each) == 1 for each in arrays.values()))
    assert [ids(arrays[name][0]) for name in arrays] == [[1, 2], [1, 2]]
    graph.spin_until(lambda: graph.logged('a batch of 2 images failed: ZeroDivisionError'))


# --- more images than the network can process -------------------------------------------------------------------------


@pytest.fixture
def busy(graph):
    """A node with one image in flight, and the event that lets its network go on."""
    gate = EngineGate()
    graph.start(engine_factory=gate.engine)
    graph.send(scene(0))
    graph.spin_until(gate.reached.is_set)
    yield graph, gate.opened
    gate.opened.set()


def send_and_receive(graph, image):
    """Send an image, and return its stamp once the node has it."""
    counts = graph.under_test._cameras[0].statistics.counts
    before = counts.received
    stamp = graph.send(image)
    graph.spin_until(lambda: counts.received > before)
    return stamp


def test_only_the_newest_image_waits_for_the_network(busy):
    graph, go_on = busy
    stamps = [send_and_receive(graph, scene(step)) for step in (1, 2, 3)]
    go_on.set()
    graph.spin_until(lambda: len(graph.arrays) == 2)
    assert graph.arrays[1].header.stamp == stamps[2]
    assert [array.dropped for array in graph.arrays] == [0, 2], 'before the image, not while it was processed'
    assert ids(graph.process(scene(4))) == [1, 2]


def test_compressed_images_that_wait_in_the_middleware_are_taken_together(graph, monkeypatch):
    """One at a time, the executor would be as late as there is room in the middleware: a second at 30 Hz."""
    calls, on_message = [], ImageSubscription._on_message

    def counted(subscription, data, information):
        calls.append(data)
        on_message(subscription, data, information)

    monkeypatch.setattr(ImageSubscription, '_on_message', counted)
    (camera,) = graph.start(image_transport='compressed')._cameras
    counts, publisher = camera.statistics.counts, graph.publisher(CompressedImage, '/image/compressed')
    image = compressed_message(scene(0), 'png')
    for sent in range(4, 104, 4):
        for _ in range(4):
            image.header.stamp = graph.stamp()
            publisher.publish(image)
        graph.spin_until(partial(lambda wanted: counts.received == wanted, sent))
    assert len(calls) < counts.received


def test_an_image_that_waits_is_ignored_when_the_node_is_disabled(busy):
    graph, go_on = busy
    send_and_receive(graph, scene(1))
    assert graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=False)).success
    go_on.set()
    graph.status(lambda status, values: values['images ignored'] == '1' and values['images processed'] == '1')
    assert graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=True)).success
    assert graph.process(scene(2)).sequence == 2


def test_an_image_whose_overlay_fails_counts_as_processed_and_no_more(graph, monkeypatch):
    """The node is being stopped, and its publishers are gone."""
    (camera,) = graph.start()._cameras
    monkeypatch.setattr(CameraPublishers, 'are_views_watched', property(lambda publishers: 1 / 0))
    graph.process(scene(0))
    graph.spin_until(lambda: graph.logged('no markers, detections or overlay of /image: ZeroDivisionError'))
    assert (camera.statistics.counts.processed, camera.statistics.counts.failed) == (1, 0)


def test_an_image_that_fails_after_the_next_one_was_read_is_in_the_message_of_that_one(graph):
    (camera,) = graph.start()._cameras
    stamp = graph.process(scene(0)).header.stamp

    def read():
        skipped = camera.statistics.skipped_unread
        return CameraImage(Header(stamp=stamp), scene(1), time.monotonic(), time.perf_counter(), skipped)

    first, second = replace(read(), pixels=None), read()
    camera.statistics.skipped('dropped')  # one that came later
    assert camera.track(first, None) is None
    camera.publish(camera.track(second, None))
    graph.spin_until(lambda: len(graph.arrays) == 2)
    assert graph.arrays[-1].dropped == 1
    assert graph.process(scene(2)).dropped == 1


def test_what_a_message_that_could_not_be_published_counts_is_in_the_next_one(graph, monkeypatch):
    (camera,) = graph.start()._cameras
    graph.process(scene(0))
    camera.statistics.skipped('dropped', 3)
    with monkeypatch.context() as patch:
        patch.setattr('vis_ros.node.camera.serialized_instances', lambda *arguments: 1 / 0)
        graph.send(scene(1))
        graph.spin_until(lambda: camera.statistics.counts.failed)
    assert graph.process(scene(2)).dropped == 4


def test_an_image_that_was_read_before_the_clock_went_back_or_the_node_was_disabled_is_skipped(graph):
    node = graph.start()
    stamp = graph.process(scene(0)).header.stamp
    (camera,) = node._cameras
    image = CameraImage(Header(stamp=stamp), scene(1), arrived=time.monotonic(), started=time.perf_counter(), skipped=0)
    assert camera.clock_went_back(0)
    assert camera.track(image, None) is None and camera.statistics.counts.dropped == 1
    camera.enable(False)
    now = CameraImage(Header(stamp=stamp), scene(1), arrived=time.monotonic(), started=time.perf_counter(), skipped=0)
    assert camera.track(now, None) is None and camera.statistics.counts.ignored == 1
    camera.enable(True)
    later = CameraImage(Header(stamp=stamp), scene(1), arrived=time.monotonic(), started=time.perf_counter(), skipped=0)
    tracked = camera.track(later, None)
    assert tracked.epoch == 2
    assert tracked.image.skipped == 1, 'the dropped one came before it, although it was read earlier'
