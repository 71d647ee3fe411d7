"""Recordings that drivers, cameras and other systems make a little differently: read, or told what is left out."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.rectangles import HEIGHT, RED, WIDTH, RectangleEngine, draw
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from PIL import Image as Picture
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from test_bag_depth import TOPICS, bag, info

from robustness.test_recordings_of_others import COUNT, frames, message, write_mcap
from vis_ros.cli.main import main
from vis_ros.fleet.recording_library import find_units
from vis_ros.images import decode_compressed
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.recording import MISSING, UNUSABLE_CALIBRATION
from vis_ros.recordings.topics import CAMERA_INFO_TYPE, IMAGE_TYPE
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.replay.run_identity import source_identity
from vis_ros.ros.camera_info import camera_model
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import to_time
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

JPEG = cv2.imencode('.jpg', draw((5, 5, 15, 15, RED)))[1].tobytes()


def write_topics(path, topics):
    """Two messages on each of some topics: (name, class of its messages)."""
    with path.open('wb') as file:
        writer = McapWriter(file, compression=CompressionType.NONE)
        writer.start('ros2', library='test')
        for name, kind in topics:
            schema = writer.register_schema(f'sensor_msgs/msg/{kind.__name__}', 'ros2msg', b'')
            channel = writer.register_channel(name, 'cdr', schema)
            for index in range(2 if kind is CompressedImage else COUNT):
                of_file = CompressedImage(header=Header(stamp=to_time(10**9 + index)), format='jpeg', data=JPEG)
                data = serialize_message(of_file) if kind is CompressedImage else message(index)
                writer.add_message(channel, 10**9 + index, data, 10**9 + index)
        writer.finish()
    return path


# --- topics and files of a bag ----------------------------------------------------------------------------------------


def test_of_two_types_on_one_topic_the_larger_is_read_and_the_other_told(tmp_path):
    path = write_topics(tmp_path / 'both.mcap', [('/image', CompressedImage), ('/image', Image)])
    recording = open_recording(path, '/image')
    assert len(list(recording)) == COUNT
    assert 'CompressedImage, 2' in recording.left_out[0]
    assert [unit.name for unit in find_units(path)] == ['both.mcap']


@pytest.mark.parametrize('name', ['image', 'image raw/ü [x]', ''])
def test_a_topic_can_be_chosen_by_the_name_that_is_listed(tmp_path, name):
    path = write_topics(tmp_path / 'names.mcap', [(name, Image), ('/other', Image)])
    assert frames(path, topic=name) == COUNT


def test_a_topic_with_and_without_a_slash_are_two(tmp_path):
    path = write_topics(tmp_path / 'slash.mcap', [('image', Image), ('/image', CompressedImage)])
    assert [frames(path, topic=name) for name in ('image', '/image')] == [COUNT, 2]


def test_topics_of_any_name_have_folders_of_their_own_inside_that_of_the_recording(tmp_path):
    names = ['/..', '/', '/a.b', '/a/b', 'image', '/image', '/../../x']
    units = find_units(write_topics(tmp_path / 'names.mcap', [(name, Image) for name in names]))
    folders = [unit.name.split('/') for unit in units]
    assert len(units) == len(names)
    assert len({unit.name for unit in units}) == len({unit.camera for unit in units}) == len(names)
    assert all(len(parts) == 2 and parts[1].strip('.') for parts in folders)


def test_links_that_lead_back_are_not_followed_again(tmp_path):
    (tmp_path / 'inside').mkdir()
    for name in ('left.mcap', 'right.mcap', 'inside/front.mcap', 'inside/back.mcap'):
        write_mcap(tmp_path / name)
    (tmp_path / 'inside' / 'loop').symlink_to(tmp_path)
    units = find_units(tmp_path)
    assert [unit.name for unit in units] == ['inside/back.mcap', 'inside/front.mcap', 'left.mcap', 'right.mcap']


def test_a_storage_file_that_the_metadata_does_not_list_is_told(tmp_path):
    for name in ('a_0.mcap', 'a_1.mcap'):
        write_mcap(tmp_path / name)
    (tmp_path / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information:\n  relative_file_paths: [a_1.mcap, a_1.mcap]\n'
    )
    recording = open_recording(tmp_path)
    assert len(list(recording)) == COUNT, 'a file that is listed twice is read once'
    assert not recording.skips
    assert 'a_0.mcap' in recording.left_out[0]


@pytest.mark.parametrize(
    'content',
    [
        'rosbag2_bagfile_information:\n',
        'rosbag2_bagfile_information: [1]\n',
        'rosbag2_bagfile_information:\n  relative_file_paths: a_0.mcap\n',
        'rosbag2_bagfile_information:\n  relative_file_paths: [a_0.mcap]\n  relative_file_paths: [a_1.mcap]\n',
    ],
)
def test_metadata_of_the_wrong_types_are_damaged(tmp_path, content):
    write_mcap(tmp_path / 'a_0.mcap')
    (tmp_path / 'metadata.yaml').write_text(content)
    with pytest.raises(BagError, match=r'metadata.yaml is damaged: .*(not a mapping|not a list|twice)'):
        open_recording(tmp_path)


def test_hidden_files_of_a_mac_are_no_part_of_a_bag_or_folder(tmp_path):
    (tmp_path / 'bag').mkdir()
    write_mcap(tmp_path / 'bag' / 'a_0.mcap')
    (tmp_path / 'bag' / '._a_0.mcap').write_bytes(b'\0\x05\x16\x07' + bytes(100))
    assert frames(tmp_path / 'bag') == COUNT
    (tmp_path / 'images').mkdir()
    for name in ('1.png', '.2.png'):
        cv2.imwrite(str(tmp_path / 'images' / name), draw())
    (tmp_path / 'images' / '._1.png').write_bytes(b'\0\x05\x16\x07' + bytes(100))
    recording = open_recording(tmp_path / 'images')
    assert [frame.name for frame in recording] == ['1.png']
    assert not recording.skips
    assert not recording.left_out
    assert frames(tmp_path / 'images' / '.2.png') == 1, 'a file that is named is read'


# --- folders ----------------------------------------------------------------------------------------------------------


def test_equal_numbers_have_one_order_on_every_disk(tmp_path, monkeypatch):
    for name in ('01.png', '1.png', '001.png', 'a.png', 'A.png'):
        cv2.imwrite(str(tmp_path / name), draw())
    orders = []
    for reverse in (False, True):
        listed = sorted(tmp_path.iterdir(), reverse=reverse)
        monkeypatch.setattr(type(tmp_path), 'iterdir', lambda path, listed=listed: iter(listed))
        orders.append([frame.name for frame in open_recording(tmp_path)])
    assert orders[0] == orders[1]


@pytest.mark.parametrize('suffix', ['png', 'webp'])
def test_further_frames_of_an_animation_are_missing(tmp_path, suffix):
    pictures = [Picture.fromarray(draw((x, 5, x + 10, 15, RED))) for x in range(5)]
    pictures[0].save(tmp_path / f'moving.{suffix}', save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / f'still.{suffix}')
    recording = open_recording(tmp_path)
    assert len(list(recording)) == 2
    assert recording.skips == {MISSING: 4}


def test_images_with_another_suffix_or_none_are_read_or_told(tmp_path):
    for name in ('1.jpg', '2.jfif', '3', '4.dat'):
        (tmp_path / name).write_bytes(JPEG)
    recording = open_recording(tmp_path)
    assert [frame.name for frame in recording] == ['1.jpg', '2.jfif']
    assert all(name in recording.left_out[0] for name in ('3', '4.dat'))


def test_names_that_are_no_unicode(tmp_path, monkeypatch):
    """As in archives of an old Windows: a replay and everything that is made of it."""
    monkeypatch.chdir(tmp_path)
    folder = os.fsdecode(b'caf\xe9')
    os.mkdir(folder)
    for name in (b'caf\xe9 1.png', b'caf\xe9 2.png'):
        with open(os.path.join(folder, os.fsdecode(name)), 'wb') as file:
            file.write(cv2.imencode('.png', draw((5, 5, 15, 15, RED)))[1])
    model = Model(Settings(weights='rectangles'), engine_factory=RectangleEngine)
    out = Path(os.fsdecode(b'sortie \xe9'))
    replay([open_recording(folder)], model, out, codecs=('mp4v',))
    assert source_identity(Path(folder))['source']
    assert (out / 'contact_sheet.png').stat().st_size
    video = (out / 'overlay.mp4').rename(out / os.fsdecode(b'\xe9.mp4'))  # OpenCV crashes at such a path
    assert len(list(open_recording(video))) == 2
    for number, kind in enumerate(('cvat', 'coco', 'youtube-vis', 'davis', 'mots')):
        monkeypatch.setattr('sys.argv', ['vis-ros', 'data', 'convert', str(out), f'converted{number}', '--to', kind])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, kind
    monkeypatch.setattr('sys.argv', ['vis-ros', 'evaluate', str(out), 'converted2', '--out', 'report'])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert (tmp_path / 'report' / 'report.html').is_file()


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('format', ['bayer_rggb8; png compressed ', 'bayer_rggb8; png compressed bayer_rggb8'])
def test_a_compressed_mosaic_has_colors(format):
    mosaic = np.zeros((20, 20), np.uint8)
    mosaic[::2, ::2] = 200  # red alone
    image = decode_compressed(format, cv2.imencode('.png', mosaic)[1].tobytes())
    np.testing.assert_array_equal(image[4:-4, 4:-4].reshape(-1, 3), np.full((144, 3), (0, 0, 200)))


# --- calibration ------------------------------------------------------------------------------------------------------


IMAGES, DEPTHS = [(0, 1), (100, 101), (200, 201)], [(0, 0, 1.0), (100, 100, 1.0), (200, 200, 1.0)]
UNUSABLE = info(k=[0.0] * 9)


def test_one_calibration_that_cannot_be_used_costs_no_other(tmp_path):
    path = bag(tmp_path / 'bag', IMAGES, DEPTHS, infos=[info(), UNUSABLE])
    recording = open_recording(path, '/image', depth=TOPICS)
    assert all(frame.depth is not None for frame in recording)
    assert recording.warnings == {UNUSABLE_CALIBRATION: 1}


def test_a_camera_without_a_calibration_that_can_be_used_is_told_at_once(tmp_path):
    path = bag(tmp_path / 'bag', IMAGES, DEPTHS, infos=[UNUSABLE])
    with pytest.raises(ValueError, match='calibrate the camera'):
        next(iter(open_recording(path, '/image', depth=TOPICS)))


def test_one_image_of_another_size_has_no_depth(tmp_path):
    def write(path, sizes):
        with BagWriter(path) as written:
            for topic, kind in (('/image', IMAGE_TYPE), ('/depth', IMAGE_TYPE), ('/camera_info', CAMERA_INFO_TYPE)):
                written.add_topic(topic, kind)
            written.write('/camera_info', 10**12, serialize_message(info()))
            depth = np.ones((HEIGHT, WIDTH), np.float32)
            for index, size in enumerate(sizes):
                time = 10**12 + index * 10**8
                of_time = Header(stamp=to_time(time), frame_id='camera_optical')
                picture = np.zeros((*size, 3), np.uint8)
                written.write('/depth', time, serialize_message(to_image(depth, '32FC1', of_time)))
                written.write('/image', time, serialize_message(to_image(picture, 'bgr8', of_time)))
        return path

    own = (HEIGHT, WIDTH)
    recording = open_recording(write(tmp_path / 'bag', [own, (20, 30), own]), '/image', depth=TOPICS)
    assert [frame.depth is not None for frame in recording] == [True, False, True]


@pytest.mark.parametrize(
    'fields, told',
    [
        ({'k': [60.0, 5, 32, 0, 50, 24, 0, 0, 1]}, 'more than focal lengths'),
        ({'k': [60.0, 0, 32, 0, 50, 24, 0, 0, 2]}, 'more than focal lengths'),
        ({'width': 0, 'height': 0}, 'size 0x0'),
        ({'d': [0.1] * 5, 'distortion_model': 'equidistant'}, 'invalid for the distortion model'),
    ],
)
def test_a_calibration_that_is_not_understood_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        camera_model(info(**fields), rectified=False)


@pytest.mark.parametrize('rectified', [False, True])
def test_a_calibration_without_its_last_row_is_read(rectified):
    whole, cut = info(), info()
    cut.k[8] = cut.p[10] = 0.0
    pixels = np.array([[3.0, 5.0]])
    rays = [camera_model(each, rectified).rays(pixels) for each in (whole, cut)]
    np.testing.assert_array_equal(*rays)


def test_a_fisheye_lens_with_more_coefficients_that_are_zero():
    four = info(d=[0.1, 0.01, 0.0, 0.0], distortion_model='equidistant')
    more = info(d=[0.1, 0.01, 0.0, 0.0, 0.0], distortion_model='equidistant')
    pixels = np.array([[3.0, 5.0]])
    np.testing.assert_array_equal(*(camera_model(each, False).rays(pixels) for each in (four, more)))
