"""Positions over ROS: from the topics depth and camera_info, valid or not."""

import math
import sys
from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from helpers.delayed_propagators import DelayedPropagators
from helpers.engine_gate import EngineGate
from helpers.image_messages import image_message
from helpers.rectangles import GREEN, HEIGHT, RED, WIDTH, draw
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from vis_ros.msg import InstanceMaskArray
from visualization_msgs.msg import Marker, MarkerArray

from vis_ros.ros.stamps import nanoseconds

FX, FY, CX, CY = 60.0, 50.0, 32.0, 24.0
BOX = (10, 6, 30, 17)  # its pixels' medians are (19.5, 11)
SHOWN = draw((*BOX, GREEN))
SHOWN_RED = draw((*BOX, RED))


def camera_info(distortion=(), model='plumb_bob', **fields):
    values = {
        'height': HEIGHT,
        'width': WIDTH,
        'distortion_model': model,
        'd': list(distortion),
        'k': [FX, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0],
        'p': [2 * FX, 0.0, CX, 0.0, 0.0, 2 * FY, CY, 0.0, 0.0, 0.0, 1.0, 0.0],
        **fields,
    }
    return CameraInfo(**values)


def depth_message(pixels, encoding=None):
    message = image_message(pixels, encoding or {2: '16UC1', 4: '32FC1'}[pixels.itemsize])
    message.is_bigendian = sys.byteorder == 'big'
    return message


def meters(value):
    return np.full((HEIGHT, WIDTH), value, np.float32)


@pytest.fixture
def scene(graph):
    """Sends depth and calibration with the images of a graph."""

    class Scene:
        def start(self, info=None, depth='raw', **parameters):
            graph.start(depth=depth, **parameters)
            if info is not False:
                self.info(info or camera_info(), '/camera_info')

        def info(self, info, topic):
            graph.publisher(CameraInfo, topic).publish(info)
            graph.spin_until(lambda: self.stream(topic)._info is not None)

        def depth(self, pixels, stamp, topic='/depth'):
            message = pixels if isinstance(pixels, Image) else depth_message(pixels)
            message.header.stamp = stamp
            graph.publisher(Image, topic).publish(message)
            graph.spin_until(lambda: self.stream(topic)._depths.latest_ns == nanoseconds(stamp))

        def stream(self, topic):
            """The depth stream of the camera with this topic."""
            (camera,) = [each for each in graph.under_test._cameras if topic.startswith(f'/{each.name}')]
            return camera.depth

        def position(self, image=SHOWN, stamp=None):
            (found,) = graph.process(image, stamp).instances
            return found.position.x, found.position.y, found.position.z

    return Scene()


def at(milliseconds, seconds=0):
    return Time(sec=100 + seconds, nanosec=milliseconds * 1_000_000 + 789)


def expected(z, zoom=1):
    return ((19.5 - CX) * z / FX / zoom, (11 - CY) * z / FY / zoom, z)


def test_position_follows_from_depth_and_calibration(graph, scene):
    scene.start()
    scene.depth(meters(2.5), at(0))
    assert scene.position(stamp=at(0)) == pytest.approx(expected(2.5))
    scene.depth(np.full((HEIGHT, WIDTH), 1250, np.uint16), at(100))
    assert scene.position(stamp=at(100)) == pytest.approx(expected(1.25))
    _, values = graph.status(lambda status, values: values['images processed'] == '2')
    assert values['images without depth'] == '0'


def test_a_delayed_image_keeps_its_depth_until_the_next_image_comes(graph, scene):
    """Although far more depth images arrive in between than are buffered."""
    factories = {'propagation_factory': DelayedPropagators}
    scene.start(factories=factories, model='maskrnn', delayed=True, propagation_weights='none')
    (camera,) = graph.under_test._cameras
    for second in range(3):
        scene.depth(meters(2.0 + second), at(0, second))
        graph.send(SHOWN_RED, at(0, second))
        graph.spin_until(lambda second=second: camera._waiting is not None and len(graph.arrays) == second)
        for later in range(1, 10):
            scene.depth(meters(9.0), at(100 * later, second))
    assert [found.position.z for array in graph.arrays for found in array.instances] == [2.0, 3.0]


def test_rectified_images_use_the_calibration_p(scene):
    scene.start(camera_info(distortion=(0.3, 0.1, 0.0, 0.0, 0.0)), depth='rectified')
    scene.depth(meters(2.0), at(0))
    assert scene.position(stamp=at(0)) == pytest.approx(expected(2.0, zoom=2))


def test_raw_images_are_undistorted(scene):
    scene.start(camera_info(distortion=(0.3, 0.1, 0.0, 0.0, 0.0)))
    scene.depth(meters(2.0), at(0))
    x, y, z = scene.position(stamp=at(0))
    assert z == 2 and abs(x) < abs(expected(2.0)[0]) - 1e-3 and abs(y) < abs(expected(2.0)[1]) - 1e-4


def test_depth_with_padding_and_the_other_byte_order(scene):
    scene.start()
    rows = np.full((HEIGHT, WIDTH + 3), 7, '>u2' if sys.byteorder == 'little' else '<u2')
    rows[:, :WIDTH] = 3000
    message = Image(height=HEIGHT, width=WIDTH, encoding='16UC1', step=2 * (WIDTH + 3), data=array('B', rows.tobytes()))
    message.is_bigendian = sys.byteorder == 'little'
    scene.depth(message, at(0))
    assert scene.position(stamp=at(0)) == pytest.approx(expected(3.0))


def test_the_depth_image_nearest_in_time_is_used(scene):
    scene.start()
    for milliseconds, z in ((0, 1.0), (33, 2.0), (66, 3.0), (99, 4.0)):
        scene.depth(meters(z), at(milliseconds))
    assert scene.position(stamp=at(40))[2] == 2
    assert scene.position(stamp=at(60))[2] == 3
    assert scene.position(stamp=at(140))[2] == 4
    assert math.isnan(scene.position(stamp=at(160))[2])


def test_a_depth_image_that_arrives_after_its_image_is_awaited(graph, scene, monkeypatch):
    """While the network runs, and for a moment longer, which is longer here for the sake of a busy machine."""
    monkeypatch.setattr('vis_ros.node.depth_stream._TIMEOUT_S', 30.0)
    monkeypatch.setattr('vis_ros.node.depth_stream._ALIVE_S', 30.0)
    scene.start()
    scene.depth(meters(1.0), at(0))
    count = len(graph.arrays)
    graph.publisher(Image, '/image')
    message = depth_message(meters(5.0))
    message.header.stamp = at(100)
    graph.send(SHOWN, at(100))
    graph.publisher(Image, '/depth').publish(message)
    graph.spin_until(lambda: len(graph.arrays) > count)
    assert graph.arrays[-1].instances[0].position.z == 5


def test_no_image_waits_for_a_depth_image_that_cannot_be_nearer(graph, scene, monkeypatch):
    """The last depth image is 5 ms older, and the next one comes 33 ms after it."""
    monkeypatch.setattr('vis_ros.node.depth_stream._TIMEOUT_S', 1000.0)
    monkeypatch.setattr('vis_ros.node.depth_stream._ALIVE_S', 1000.0)
    scene.start()
    for milliseconds, z in ((0, 1.0), (33, 2.0)):
        scene.depth(meters(z), at(milliseconds))
    assert scene.position(stamp=at(38))[2] == 2


def test_a_camera_that_waits_for_depth_holds_up_no_other(graph, scene, monkeypatch):
    monkeypatch.setattr('vis_ros.node.depth_stream._TIMEOUT_S', 1000.0)
    monkeypatch.setattr('vis_ros.node.depth_stream._ALIVE_S', 1000.0)
    scene.start(info=False, cameras=['front', 'left'])
    front = graph.listen(InstanceMaskArray, '/vis_node/front/instances')
    left = graph.listen(InstanceMaskArray, '/vis_node/left/instances')
    scene.depth(meters(1.0), at(0), topic='/front/depth')
    graph.send(SHOWN, at(100), topic='/front/image')
    for step in range(3):
        graph.process(SHOWN, at(100 + step), topic='/left/image', arrays=left)
    assert not front
    graph.send(SHOWN, at(110), topic='/front/image')  # it does not wait longer than until the next one
    graph.spin_until(lambda: front)
    assert front[0].header.stamp == at(100)
    message = depth_message(meters(1.0))
    message.header.stamp = at(112)
    graph.publisher(Image, '/front/depth').publish(message)
    graph.spin_until(lambda: len(front) == 2)


def test_a_calibration_sent_once_before_the_node_started_is_received(graph, scene):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.node.create_publisher(CameraInfo, '/camera_info', latched).publish(camera_info())
    scene.start(info=False)
    graph.spin_until(lambda: scene.stream('/camera_info')._info is not None)
    assert not graph.logged('incompatible'), 'the other subscription fits it as well'


def test_the_depth_image_is_kept_during_long_processing(graph, scene):
    """More depth images arrive meanwhile than are buffered, but the nearest one is kept."""
    gate = EngineGate()
    scene.start(engine_factory=gate.engine)
    graph.send(SHOWN, at(10))
    graph.spin_until(gate.reached.is_set)
    for step in range(12):
        scene.depth(meters(1.0 + step), at(33 * step))
    gate.opened.set()
    graph.spin_until(lambda: graph.arrays)
    assert graph.arrays[-1].instances[0].position.z == 1


@pytest.mark.parametrize(
    ('info', 'depth', 'reason'),
    [
        (False, meters(1.0), 'no camera_info received on /camera_info'),
        (None, None, 'no depth image received on /depth'),
        (camera_info(k=[0.0] * 9), meters(1.0), 'no focal length in k'),
        (camera_info(distortion=[0.1], model='odd'), meters(1.0), "distortion model 'odd'"),
        (camera_info(distortion=[0.1, 0.0, 0.0]), meters(1.0), 'coefficients d [0.1, 0.0, 0.0]'),
        (camera_info(distortion=[math.nan] * 5), meters(1.0), 'coefficients d [nan'),
        (camera_info(distortion=[0.1] * 5, model='equidistant'), meters(1.0), "model 'equidistant'"),
        (camera_info(width=99), meters(1.0), 'camera_info 99x48'),
        (None, np.ones((24, 32), np.float32), 'depth 32x24'),
        (None, depth_message(meters(1.0), '64FC1'), "'64FC1' is not supported"),
        (None, Image(height=48, width=64, encoding='32FC1', step=256, data=array('B', b'12')), 'data has 2 bytes'),
    ],
)  # fmt: skip
def test_without_usable_depth_objects_have_no_position_and_the_reason_is_logged(graph, scene, info, depth, reason):
    scene.start(info)
    if depth is not None:
        scene.depth(depth, at(0))
    for step in range(2):
        assert all(math.isnan(value) for value in scene.position(stamp=at(step)))
    _, values = graph.status(lambda status, values: values['images without depth'] == '2')
    assert reason in values['last issue'] and values['images failed'] == '0'
    graph.spin_until(lambda: graph.logged(reason))
    assert len(graph.logged(reason)) == 1


def test_without_the_parameter_depth_is_not_subscribed(graph):
    node = graph.start()
    assert node.count_subscribers('/depth') == node.count_subscribers('/camera_info') == 0
    (found,) = graph.process(SHOWN).instances
    assert math.isnan(found.position.z)


def test_each_camera_has_its_own_depth(graph, scene):
    scene.start(info=False, cameras=['front', 'left'])
    for name, z in (('front', 1.0), ('left', 2.0)):
        scene.info(camera_info(), f'/{name}/camera_info')
        scene.depth(meters(z), at(0), f'/{name}/depth')
    for name, z in (('front', 1.0), ('left', 2.0)):
        arrays = graph.listen(InstanceMaskArray, f'/vis_node/{name}/instances')
        assert graph.process(SHOWN, at(0), f'/{name}/image', arrays).instances[0].position.z == z


def test_markers_are_at_the_positions_of_the_objects(graph, scene):
    scene.start(min_hits=1)
    scene.depth(
        np.where(np.arange(WIDTH) < 40, np.float32(2), np.float32(np.nan)) * np.ones((HEIGHT, 1), np.float32), at(0)
    )
    received = graph.listen(MarkerArray, '/vis_node/markers')
    graph.spin_until(graph.under_test._cameras[0].publishers.markers.get_subscription_count)
    found = graph.process(draw((*BOX, GREEN), (45, 30, 60, 40, RED)), at(0)).instances
    (green,) = [each.track_id for each in found if each.class_name == 'green']
    graph.spin_until(lambda: received)
    clear, ball, text = received[0].markers
    assert clear.action == Marker.DELETEALL
    assert (ball.type, text.type, text.text) == (Marker.SPHERE, Marker.TEXT_VIEW_FACING, f'green {green}')
    where = ball.pose.position
    assert (where.x, where.y, where.z) == pytest.approx(expected(2.0))
    assert text.pose.position.y < where.y and ball.header.frame_id == 'camera_optical_frame'
    assert ball.lifetime.sec == 1 and max(ball.color.r, ball.color.g, ball.color.b) > 0
