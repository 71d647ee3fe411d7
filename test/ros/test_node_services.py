"""The services of the node, and topics that are published only for subscribers."""

import numpy as np
from helpers.passing_rectangles import ids, scene
from helpers.rectangles import HEIGHT, WIDTH
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from vis_ros.images import decode_compressed
from vis_ros.visualization import draw_overlay


def test_images_are_ignored_while_disabled_and_tracks_are_kept(graph):
    graph.start()
    graph.process(scene(0))
    assert graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=False)).success
    for _ in range(3):
        graph.send(scene(1))
    status, _ = graph.status(lambda status, values: values['images ignored'] == '3')
    assert 'disabled' in status.message and len(graph.arrays) == 1
    graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=True))
    array = graph.process(scene(1))
    assert (ids(array), array.sequence, array.dropped) == ([1, 2], 2, 0)


def pixels(message, dtype, channels):
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, *channels)


def test_overlays_are_drawn_only_for_subscribers(graph, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        'vis_ros.node.camera_publishers.draw_overlay',
        lambda *arguments: drawn.append(arguments) or draw_overlay(*arguments),
    )
    graph.start()
    graph.process(scene(0))
    assert not drawn
    overlays = graph.listen(Image, '/vis_node/overlay')
    labels = graph.listen(Image, '/vis_node/instance_image')
    classes = graph.listen(Image, '/vis_node/class_image')
    array = graph.process(scene(1))
    while not (overlays and labels and classes):  # discovery takes a moment
        array = graph.process(scene(1))
        graph.spin_for(0.1)
    graph.spin_until(lambda: overlays[-1].header == labels[-1].header == array.header)
    assert overlays[-1].encoding == 'bgr8'
    np.testing.assert_array_equal(pixels(overlays[-1], np.uint8, (3,)), draw_overlay(*drawn[-1]))
    assert labels[-1].encoding == 'mono16'
    truth = np.zeros((HEIGHT, WIDTH), np.uint16)
    truth[4:14, 6:16] = 1 + [i.class_name for i in array.instances].index('red')
    truth[28:40, 46:56] = 1 + [i.class_name for i in array.instances].index('blue')
    np.testing.assert_array_equal(pixels(labels[-1], np.uint16, ()), truth)
    assert classes[-1].encoding == 'bgr8'
    colored = pixels(classes[-1], np.uint8, (3,)).any(2)
    assert colored[4:14, 6:16].all() and not colored[:2].any() and not colored[:, :4].any()


def test_the_overlay_as_jpeg_shows_the_same(graph, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        'vis_ros.node.camera_publishers.draw_overlay',
        lambda image, *others: drawn.setdefault(len(drawn), draw_overlay(image, *others)),
    )
    graph.start()
    jpegs = graph.listen(CompressedImage, '/vis_node/overlay/compressed')
    while not jpegs:  # discovery takes a moment
        array = graph.process(scene(1))
        graph.spin_for(0.1)
    graph.spin_until(lambda: jpegs[-1].header == array.header)
    shown = decode_compressed(jpegs[-1].format, np.frombuffer(jpegs[-1].data, np.uint8))
    error = np.abs(shown.astype(int) - drawn[len(drawn) - 1]).mean()
    assert 0 < error < 10 < np.abs(shown.astype(int) - scene(1)).mean(), (
        'lossy, and closer to the overlay than the image is'
    )


def test_the_tags_of_the_overlay_can_be_left_out_while_running(graph, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        'vis_ros.node.camera_publishers.draw_overlay',
        lambda *arguments: drawn.append(arguments[2]) or draw_overlay(*arguments),
    )
    graph.start()
    overlays = graph.listen(Image, '/vis_node/overlay')
    assert graph.under_test.set_parameters([Parameter('overlay_labels', value='none')])[0].successful
    while not overlays:  # discovery takes a moment
        graph.process(scene(1))
        graph.spin_for(0.1)
    assert set(drawn) == {'none'}


def test_an_overlay_that_fails_skips_no_image(graph, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError('no color left')

    monkeypatch.setattr('vis_ros.node.camera_publishers.draw_overlay', fail)
    graph.start()
    graph.listen(Image, '/vis_node/overlay')
    graph.spin_until(graph.under_test._cameras[0].publishers.overlay.get_subscription_count)
    arrays = [graph.process(scene(step)) for step in range(3)]
    assert [array.dropped for array in arrays] == [0, 0, 0]
    _, values = graph.status(lambda status, values: 'no color left' in values['last issue'])
    assert values['images failed'] == '0'
