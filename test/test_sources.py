"""Recordings of every kind, made here by other means than the package reads them with, and broken ones."""

import itertools
import tracemalloc

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vis_ros.sources import open_source
from vis_ros.stamps import FOLDER_RATE

STORE = get_typestore(Stores.LATEST)
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
SECOND = 1_000_000_000


def picture(number, size=(48, 64)):
    """Grey `number` with a red square that moves with it."""
    image = np.full((*size, 3), number, np.uint8)
    image[10:20, number : number + 10] = (0, 0, 255)
    return image


def header(stamp_ns, frame_id='camera_optical'):
    stamp = STORE.types['builtin_interfaces/msg/Time'](stamp_ns // SECOND, stamp_ns % SECOND)
    return STORE.types['std_msgs/msg/Header'](stamp, frame_id)


def raw_message(image, stamp_ns, encoding='bgr8'):
    height, width = image.shape[:2]
    return STORE.types[IMAGE](header(stamp_ns), height, width, encoding, 0, width * 3, image.reshape(-1))


def compressed_message(data, stamp_ns):
    return STORE.types[COMPRESSED](header(stamp_ns), 'jpeg', np.frombuffer(data, np.uint8))


def write_bag(path, topics, plugin=StoragePlugin.MCAP):
    """`topics`: name -> (type, [(recorded_ns, message), ...])."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for topic, (kind, messages) in topics.items():
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for recorded_ns, message in messages:
                writer.write(connection, recorded_ns, STORE.serialize_cdr(message, kind))
    return path


def image_messages(count, first=0):
    # Recorded 5 ms after they were taken.
    return [
        (s + 5_000_000, raw_message(picture(i), s))
        for i, s in ((i, 100 * SECOND + i * 33_333_333) for i in range(first, first + count))
    ]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 20, (64, 48))
    for number in range(0, 50, 2):
        writer.write(picture(number))
    writer.release()
    return path


def test_a_video_gives_every_frame_in_order_with_the_stamps_of_the_container(video):
    source = open_source(video)
    assert source.count == 25 and source.rate == 20 and str(video) in source.description
    frames = list(source)
    assert len(frames) == 25 and source.skipped == 0
    for index, frame in enumerate(frames):
        assert frame.stamp == pytest.approx(index / 20, abs=1e-6)
        assert frame.stamp_ns == round(frame.stamp * SECOND)
        assert np.abs(frame.image.astype(int) - picture(2 * index))[30:].mean() < 3, 'the right picture, up to JPEG'
        assert frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous


def test_a_source_can_be_read_again_from_the_start(video):
    source = open_source(video)
    first = [frame.image for frame in itertools.islice(source, 5)]
    again = [frame.image for frame in itertools.islice(source, 5)]
    np.testing.assert_array_equal(first, again)


def test_a_folder_is_read_in_natural_order_and_a_broken_image_is_counted(tmp_path):
    for number in (10, 9, 1, 2):
        cv2.imwrite(str(tmp_path / f'frame{number}.png'), picture(number))
    (tmp_path / 'frame3.png').write_bytes(b'no image')
    (tmp_path / 'notes.txt').write_text('not a frame')
    source = open_source(tmp_path)
    assert source.count == 5
    frames = list(source)
    assert [frame.name for frame in frames] == ['frame1.png', 'frame2.png', 'frame9.png', 'frame10.png']
    assert [frame.stamp for frame in frames] == pytest.approx([i / FOLDER_RATE for i in (0, 1, 3, 4)])
    assert source.skipped == 1 and 'frame3.png' in source.last_problem
    np.testing.assert_array_equal(frames[3].image, picture(10))


def test_one_photo_is_a_recording_too(tmp_path):
    cv2.imwrite(str(tmp_path / 'photo.PNG'), picture(3))
    (frame,) = open_source(tmp_path / 'photo.PNG')
    np.testing.assert_array_equal(frame.image, picture(3))


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('part', ['folder', 'file'])
def test_a_bag_gives_the_images_with_the_stamps_of_their_headers(tmp_path, plugin, part):
    bag = write_bag(tmp_path / 'bag', {'/camera/image': (IMAGE, image_messages(20))}, plugin)
    path = bag if part == 'folder' else next(f for f in bag.iterdir() if f.suffix in ('.mcap', '.db3'))
    source = open_source(path)
    assert source.count == 20 and source.rate == pytest.approx(30, rel=0.1)
    assert '/camera/image' in source.description
    for index, frame in enumerate(source):
        assert frame.stamp_ns == 100 * SECOND + index * 33_333_333
        assert frame.frame_id == 'camera_optical'
        np.testing.assert_array_equal(frame.image, picture(index))


def test_bag_files_without_metadata_are_read_one_after_the_other(tmp_path):
    folder = tmp_path / 'split'
    folder.mkdir()
    for part, first in ((2, 0), (10, 5)):  # part 10 comes after part 2
        bag = write_bag(tmp_path / f'bag{part}', {'/image': (IMAGE, image_messages(5, first))})
        next(bag.glob('*.mcap')).rename(folder / f'recording_{part}.mcap')
    source = open_source(folder)
    assert source.count == 10
    stamps = [frame.stamp_ns for frame in source]
    assert stamps == [100 * SECOND + i * 33_333_333 for i in range(10)]


def test_compressed_images_of_a_bag_are_decoded_and_a_corrupt_one_is_counted(tmp_path):
    data = [cv2.imencode('.jpg', picture(i))[1].tobytes() for i in range(4)]
    data[2] = data[2][:60]
    messages = [(i * SECOND + 1, compressed_message(d, i * SECOND + 1)) for i, d in enumerate(data)]
    source = open_source(write_bag(tmp_path / 'bag', {'/image/compressed': (COMPRESSED, messages)}))
    frames = list(source)
    assert [round(frame.stamp) for frame in frames] == [0, 1, 3]
    assert source.skipped == 1 and 'image 2' in source.last_problem
    assert np.abs(frames[2].image[30:].astype(int) - 3).mean() < 2


def test_a_stamp_of_zero_is_replaced_by_the_time_of_recording(tmp_path):
    messages = [(7 * SECOND + i, raw_message(picture(i), 0)) for i in range(3)]
    source = open_source(write_bag(tmp_path / 'bag', {'/image': (IMAGE, messages)}))
    assert [frame.stamp_ns for frame in source] == [7 * SECOND, 7 * SECOND + 1, 7 * SECOND + 2]


def test_several_image_topics_need_a_choice_and_a_wrong_one_lists_them(tmp_path):
    topics = {'/front/image': (IMAGE, image_messages(3)), '/left/image': (IMAGE, image_messages(2, 30))}
    bag = write_bag(tmp_path / 'bag', topics)
    with pytest.raises(ValueError, match=r'--topic .*: /front/image \(Image, 3\), /left/image \(Image, 2\)'):
        open_source(bag)
    with pytest.raises(ValueError, match=r'no images on the topic /rear/image; it has /front/image .*, /left/image'):
        open_source(bag, '/rear/image')
    assert len(list(open_source(bag, 'left/image'))) == 2, 'the first slash may be left out'


def test_other_topics_of_a_bag_do_not_matter(tmp_path):
    text = STORE.types['std_msgs/msg/String']('hello')
    topics = {'/chatter': ('std_msgs/msg/String', [(1, text)]), '/image': (IMAGE, image_messages(2))}
    assert len(list(open_source(write_bag(tmp_path / 'bag', topics)))) == 2
    bag = write_bag(tmp_path / 'silent', {'/chatter': ('std_msgs/msg/String', [(1, text)])})
    with pytest.raises(ValueError, match='no topic with images'):
        open_source(bag)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.mp4'):
        open_source(tmp_path / 'missing.mp4')
    with pytest.raises(ValueError, match='holds neither images'):
        open_source(tmp_path)


def test_a_topic_is_refused_where_there_are_none(video):
    with pytest.raises(ValueError, match="not a bag, so it has no topic '/image'"):
        open_source(video, '/image')


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / 'clip.mp4').write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r'clip\.mp4 is not a video'):
        open_source(tmp_path / 'clip.mp4')


def test_a_video_that_breaks_off_is_read_up_to_there_and_says_so(video):
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    source = open_source(video)
    frames = list(source)
    assert 0 < len(frames) < 25
    if source.count is not None:  # without an index the container announces nothing
        assert source.skipped == source.count - len(frames)


def test_a_folder_of_broken_images_has_no_frames(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(ValueError, match=r'no frame can be read.*a\.jpg'):
        list(open_source(tmp_path))


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_a_truncated_bag_names_the_file(tmp_path, plugin, share):
    bag = write_bag(tmp_path / 'bag', {'/image': (IMAGE, image_messages(20))}, plugin)
    file = next(f for f in bag.iterdir() if f.suffix in ('.mcap', '.db3'))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=str(file)):
        list(open_source(file))


def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path):
    big = np.zeros((240, 320, 3), np.uint8)
    peaks = []
    for count in (20, 200):
        messages = ((i * SECOND, raw_message(big, i * SECOND)) for i in range(1, count + 1))
        source = open_source(write_bag(tmp_path / f'bag{count}', {'/image': (IMAGE, messages)}))
        tracemalloc.start()
        assert sum(1 for _ in source) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 5 * big.nbytes
