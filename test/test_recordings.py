"""Recordings of every kind, made here by other means than the package reads them with, and broken ones."""

import itertools
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vis_ros.recordings.opening import open_recording, open_recordings
from vis_ros.recordings.recording import NoFrameError, Stream
from vis_ros.ros.stamps import FOLDER_RATE

STORE = get_typestore(Stores.LATEST)
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
SECOND = 1_000_000_000


def picture(number, size=(48, 64)):
    """Gray `number` with a red square that moves with it."""
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
    recording = open_recording(video)
    assert recording.count == 25 and recording.rate == 20 and str(video) in recording.description
    frames = list(recording)
    assert len(frames) == 25 and recording.skipped == 0
    for index, frame in enumerate(frames):
        assert frame.stamp == pytest.approx(index / 20, abs=1e-6)
        assert frame.stamp_ns == round(frame.stamp * SECOND)
        assert np.abs(frame.image.astype(int) - picture(2 * index))[30:].mean() < 3, 'the right picture, up to JPEG'
        assert frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous


def test_a_recording_can_be_read_again_from_the_start(video):
    recording = open_recording(video)
    first = [frame.image for frame in itertools.islice(recording, 5)]
    again = [frame.image for frame in itertools.islice(recording, 5)]
    np.testing.assert_array_equal(first, again)


def test_the_number_of_frames_is_the_length_where_it_is_known(video):
    recording = open_recording(video)
    assert len(recording) == 25
    recording.streams = (Stream('', None, 20.0),)  # a container without an index
    with pytest.raises(TypeError, match='does not say how many frames it has'):
        len(recording)
    assert len(list(recording)) == 25, 'list() asks for the length too'


def test_a_folder_is_read_in_natural_order_and_a_broken_image_is_counted(tmp_path):
    for number in (10, 9, 1, 2):
        cv2.imwrite(str(tmp_path / f'frame{number}.png'), picture(number))
    (tmp_path / 'frame3.png').write_bytes(b'no image')
    (tmp_path / 'notes.txt').write_text('not a frame')
    recording = open_recording(tmp_path)
    assert recording.count == 5
    frames = list(recording)
    assert [frame.name for frame in frames] == ['frame1.png', 'frame2.png', 'frame9.png', 'frame10.png']
    assert [frame.stamp for frame in frames] == pytest.approx([i / FOLDER_RATE for i in (0, 1, 3, 4)])
    assert recording.skipped == 1 and 'frame3.png' in recording.last_problem
    np.testing.assert_array_equal(frames[3].image, picture(10))


def test_one_photo_is_a_recording_too(tmp_path):
    cv2.imwrite(str(tmp_path / 'photo.PNG'), picture(3))
    (frame,) = open_recording(tmp_path / 'photo.PNG')
    np.testing.assert_array_equal(frame.image, picture(3))


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('part', ['folder', 'file'])
def test_a_bag_gives_the_images_with_the_stamps_of_their_headers(tmp_path, plugin, part):
    bag = write_bag(tmp_path / 'bag', {'/camera/image': (IMAGE, image_messages(20))}, plugin)
    path = bag if part == 'folder' else next(f for f in bag.iterdir() if f.suffix in ('.mcap', '.db3'))
    recording = open_recording(path)
    assert recording.count == 20 and recording.rate == pytest.approx(30, rel=0.1)
    assert '/camera/image' in recording.description
    for index, frame in enumerate(recording):
        assert frame.stamp_ns == 100 * SECOND + index * 33_333_333
        assert frame.frame_id == 'camera_optical'
        np.testing.assert_array_equal(frame.image, picture(index))


def test_bag_files_without_metadata_are_read_one_after_the_other(tmp_path):
    folder = tmp_path / 'split'
    folder.mkdir()
    for part, first in ((2, 0), (10, 5)):  # part 10 comes after part 2
        bag = write_bag(tmp_path / f'bag{part}', {'/image': (IMAGE, image_messages(5, first))})
        next(bag.glob('*.mcap')).rename(folder / f'recording_{part}.mcap')
    recording = open_recording(folder)
    assert recording.count == 10
    stamps = [frame.stamp_ns for frame in recording]
    assert stamps == [100 * SECOND + i * 33_333_333 for i in range(10)]


def test_compressed_images_of_a_bag_are_decoded_and_a_corrupt_one_is_counted(tmp_path):
    data = [cv2.imencode('.jpg', picture(i))[1].tobytes() for i in range(4)]
    data[2] = data[2][:60]
    messages = [(i * SECOND + 1, compressed_message(d, i * SECOND + 1)) for i, d in enumerate(data)]
    recording = open_recording(write_bag(tmp_path / 'bag', {'/image/compressed': (COMPRESSED, messages)}))
    frames = list(recording)
    assert [round(frame.stamp) for frame in frames] == [0, 1, 3]
    assert recording.skipped == 1 and 'image 2' in recording.last_problem
    assert np.abs(frames[2].image[30:].astype(int) - 3).mean() < 2


def test_a_stamp_of_zero_is_replaced_by_the_time_of_recording(tmp_path):
    messages = [(7 * SECOND + i, raw_message(picture(i), 0)) for i in range(3)]
    recording = open_recording(write_bag(tmp_path / 'bag', {'/image': (IMAGE, messages)}))
    assert [frame.stamp_ns for frame in recording] == [7 * SECOND, 7 * SECOND + 1, 7 * SECOND + 2]


def test_several_image_topics_need_a_choice_and_a_wrong_one_lists_them(tmp_path):
    topics = {'/front/image': (IMAGE, image_messages(3)), '/left/image': (IMAGE, image_messages(2, 30))}
    bag = write_bag(tmp_path / 'bag', topics)
    with pytest.raises(ValueError, match=r'--topic .*: /front/image \(Image, 3\), /left/image \(Image, 2\)'):
        open_recording(bag)
    with pytest.raises(ValueError, match=r'no images on the topic /rear/image; it has /front/image .*, /left/image'):
        open_recording(bag, '/rear/image')
    assert len(list(open_recording(bag, 'left/image'))) == 2, 'the first slash may be left out'


def test_other_topics_of_a_bag_do_not_matter(tmp_path):
    text = STORE.types['std_msgs/msg/String']('hello')
    topics = {'/chatter': ('std_msgs/msg/String', [(1, text)]), '/image': (IMAGE, image_messages(2))}
    assert len(list(open_recording(write_bag(tmp_path / 'bag', topics)))) == 2
    bag = write_bag(tmp_path / 'silent', {'/chatter': ('std_msgs/msg/String', [(1, text)])})
    with pytest.raises(ValueError, match='no topic with images'):
        open_recording(bag)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'missing\.mp4'):
        open_recording(tmp_path / 'missing.mp4')
    with pytest.raises(ValueError, match='holds neither images'):
        open_recording(tmp_path)


def test_a_topic_is_refused_where_there_are_none(video):
    with pytest.raises(ValueError, match="not a bag, so it has no topic '/image'"):
        open_recording(video, '/image')


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / 'clip.mp4').write_bytes(b'moov' * 250)
    with pytest.raises(ValueError, match=r'clip\.mp4 is not a video'):
        open_recording(tmp_path / 'clip.mp4')


def test_a_video_that_breaks_off_is_read_up_to_there_and_says_so(video):
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    recording = open_recording(video)
    frames = list(recording)
    assert 0 < len(frames) < 25
    if recording.count is not None:  # without an index the container announces nothing
        assert recording.skipped == recording.count - len(frames)


def test_a_folder_of_broken_images_has_no_frames(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(ValueError, match=r'no frame can be read.*a\.jpg'):
        list(open_recording(tmp_path))


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_bag_names_the_file(tmp_path, plugin, share):
    bag = write_bag(tmp_path / 'bag', {'/image': (IMAGE, image_messages(20))}, plugin)
    file = next(f for f in bag.iterdir() if f.suffix in ('.mcap', '.db3'))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=str(file)) as caught:
        list(open_recording(file))
    if share and plugin is StoragePlugin.MCAP:
        assert 'breaks off at byte' in str(caught.value)


# --- stamps of bags ---------------------------------------------------------------------------------------------------


def stamped(path, stamps, recorded=None, pictures=None):
    """Images with these stamps (s) in this order, recorded every 100 ms from 1000 s on unless said otherwise."""
    recorded = recorded or [1000 + index / 10 for index in range(len(stamps))]
    pictures = pictures or [picture(index) for index in range(len(stamps))]
    messages = [
        (round(when * SECOND), raw_message(image, round(stamp * SECOND)))
        for stamp, when, image in zip(stamps, recorded, pictures, strict=True)
    ]
    return open_recording(write_bag(path, {'/image': (IMAGE, messages)}))


def numbers(frames):
    """Which of the images they are."""
    return [int(frame.image[-1, -1, 0]) for frame in frames]


def test_images_out_of_order_are_put_in_order(tmp_path):
    recording = stamped(tmp_path / 'bag', [10.0, 10.1, 10.4, 10.2, 10.3, 10.5, 10.05])
    frames = list(recording)
    assert numbers(frames) == [0, 6, 1, 3, 4, 2, 5]
    assert [frame.index for frame in frames] == list(range(7)) and {frame.epoch for frame in frames} == {0}
    assert recording.skipped == 0 and recording.warnings == {'reordered': 3}


def test_a_clock_that_is_set_back_raises_the_epoch_after_everything_before_it(tmp_path):
    recording = stamped(tmp_path / 'bag', [10.0, 10.2, 10.1, 9.2, 9.3, 5.0, 5.1])
    frames = list(recording)
    assert numbers(frames) == [0, 2, 1, 3, 4, 5, 6]
    assert [frame.epoch for frame in frames] == [0, 0, 0, 1, 1, 2, 2]
    assert recording.warnings == {'reordered': 1, 'clock set back': 2}


def test_stamps_that_tell_no_time_follow_the_time_of_recording(tmp_path):
    recording = stamped(tmp_path / 'bag', [10.0, 0, 0, 10.3], recorded=[1000, 1000.1, 1000.25, 1000.3])
    frames = list(recording)
    assert [frame.stamp for frame in frames] == [10.0, 10.1, 10.25, 10.3]
    assert [frame.has_clock for frame in frames] == [True, False, False, True]
    assert recording.warnings == {'invalid stamp': 2}
    list(recording)
    assert recording.warnings == {'invalid stamp': 2}, 'counted again from 0'


def test_an_image_that_is_recorded_twice_is_used_once_and_another_of_the_same_stamp_too(tmp_path):
    images = [picture(number) for number in (0, 1, 1, 2, 3)]
    recording = stamped(tmp_path / 'bag', [10.0, 10.1, 10.1, 10.1, 10.2], pictures=images)
    frames = list(recording)
    assert numbers(frames) == [0, 1, 2, 3]
    assert recording.skips == {'recorded twice': 1} and recording.warnings == {'same stamp as the previous image': 1}
    assert [frame.dropped for frame in frames] == [0, 0, 1, 0]


def test_stamps_that_stand_still_do_not_fill_the_memory(tmp_path):
    frames = iter(stamped(tmp_path / 'bag', [10.0] * 200))
    assert numbers(frames) == list(range(200))


def test_missing_images_are_remarked(tmp_path):
    recording = stamped(tmp_path / 'bag', [10 + index / 10 for index in range(30) if index not in (12, 20, 21, 22)])
    assert len(list(recording)) == 26 and recording.warnings == {'gap': 1}, 'one missing image is within the jitter'


def test_one_image_of_so_many_is_decoded(tmp_path):
    messages = image_messages(10)
    messages[4][1].encoding = '32FC3'
    messages[5][1].encoding = '32FC3'
    recording = open_recording(write_bag(tmp_path / 'bag', {'/image': (IMAGE, messages)}))
    assert [frame.index for frame in recording.frames(3)] == [0, 3, 6, 9] and recording.skipped == 0
    assert [frame.index for frame in recording.frames(2)] == [0, 2, 6, 8] and recording.skipped == 1


def test_an_encoding_that_cannot_be_read_is_named(tmp_path):
    messages = image_messages(3)
    for _, message in messages:
        message.encoding = '32FC3'
    recording = open_recording(write_bag(tmp_path / 'bag', {'/depth': (IMAGE, messages)}))
    with pytest.raises(
        NoFrameError, match=r"no frame can be read\. image 2 of /depth: encoding '32FC3' is not supported"
    ):
        list(recording)
    assert recording.skips == {'unreadable': 3}


def test_a_message_that_is_cut_off_is_counted(tmp_path):
    whole = STORE.serialize_cdr(raw_message(picture(1), SECOND), IMAGE)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/image', IMAGE, typestore=STORE)
        for number, length in enumerate((len(whole), 10, 500, len(whole))):
            stamp = (number + 1).to_bytes(4, 'little')
            writer.write(connection, number, bytes(whole[:4]) + stamp + bytes(whole[8:length]))
    recording = open_recording(tmp_path / 'bag')
    frames = list(recording)
    assert [frame.stamp for frame in frames] == [1, 4] and [frame.dropped for frame in frames] == [0, 2]
    assert recording.skips == {'unreadable': 2}


# --- several streams --------------------------------------------------------------------------------------------------


def test_cameras_have_the_topics_of_the_node(tmp_path):
    jpeg = cv2.imencode('.jpg', picture(0))[1].tobytes()
    topics = {
        '/front/image': (IMAGE, image_messages(3)),
        '/front/image/compressed': (COMPRESSED, [(1, compressed_message(jpeg, 1))]),
        '/arm/rear/image/compressed': (COMPRESSED, [(n, compressed_message(jpeg, n)) for n in (1, 2)]),
        '/other': (IMAGE, image_messages(5)),
    }
    bag = write_bag(tmp_path / 'bag', topics)
    recording = open_recording(bag, cameras={'front': None, 'arm/rear': None, 'top': 'other'})
    assert [(stream.name, stream.topic, stream.count) for stream in recording.streams] == [
        ('front', '/front/image', 3), ('arm/rear', '/arm/rear/image/compressed', 2), ('top', '/other', 5),
    ]  # fmt: skip
    assert recording.count == 10 and '/front/image, /arm/rear/image/compressed, /other' in recording.description
    counts = {
        stream.name: [frame.index for frame in recording if frame.stream == stream.name] for stream in recording.streams
    }
    assert counts == {'front': [0, 1, 2], 'arm/rear': [0, 1], 'top': [0, 1, 2, 3, 4]}
    with pytest.raises(ValueError, match=r'no images on the topic /left/image or /left/image/compressed; it has /arm'):
        open_recording(bag, cameras={'left': None})
    with pytest.raises(ValueError, match='two cameras have the same topic: /other, /other'):
        open_recording(bag, cameras={'a': '/other', 'b': '/other'})
    with pytest.raises(ValueError, match='give only one of the two'):
        open_recording(bag, '/other', {'front': None})


def test_a_topic_without_messages(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/image': (IMAGE, []), '/chatter': ('std_msgs/msg/String', [])})
    with pytest.raises(ValueError, match=r'has no message on /image; it has /image \(Image, 0\)'):
        open_recording(bag)


def test_a_folder_of_image_folders_is_a_recording_for_each(tmp_path):
    for name in ('walk10', 'walk9', 'notes'):
        (tmp_path / name).mkdir()
    for name in ('walk10', 'walk9'):
        cv2.imwrite(str(tmp_path / name / '0.png'), picture(1))
    recordings = open_recordings(tmp_path)
    assert [recording.streams[0].name for recording in recordings] == ['walk9', 'walk10']
    assert [frame.stream for recording in recordings for frame in recording] == ['walk9', 'walk10']
    (single,) = open_recordings(tmp_path / 'walk9')
    assert single.streams[0].name == ''
    with pytest.raises(ValueError, match='holds neither images'):
        open_recordings(tmp_path / 'notes')
    with pytest.raises(ValueError, match='not a bag, so it has no cameras front; leave --camera out'):
        open_recordings(tmp_path, cameras={'front': None})


def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path):
    big = np.zeros((240, 320, 3), np.uint8)
    peaks = []
    for count in (20, 200):
        messages = ((i * SECOND, raw_message(big, i * SECOND)) for i in range(1, count + 1))
        recording = open_recording(write_bag(tmp_path / f'bag{count}', {'/image': (IMAGE, messages)}))
        tracemalloc.start()
        assert sum(1 for _ in recording) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 5 * big.nbytes


def test_an_orientation_in_a_photo_is_ignored_as_in_bags(tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # turned by a quarter
    PillowImage.fromarray(picture(1)).save(tmp_path / '0.jpg', exif=exif)
    (frame,) = open_recording(tmp_path).frames()
    assert frame.image.shape == (48, 64, 3)


def test_an_image_of_an_impossible_size_is_counted(tmp_path):
    cv2.imwrite(str(tmp_path / '0.bmp'), picture(1))
    damaged = bytearray((tmp_path / '0.bmp').read_bytes())
    damaged[18:26] = (2_097_152).to_bytes(4, 'little') * 2
    (tmp_path / '1.bmp').write_bytes(damaged)
    recording = open_recording(tmp_path)
    assert [frame.name for frame in recording.frames()] == ['0.bmp']
    assert recording.skipped == 1
