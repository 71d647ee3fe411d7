"""Bags of every kind, whole and broken in every way that a recording breaks; written ones are read by other code."""

import os
import shutil
import sqlite3

import numpy as np
import pytest
import yaml
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vis_ros.msg import InstanceMaskArray

from vis_ros.images import ImageError
from vis_ros.instances import Instances
from vis_ros.recordings.bag_files import BagError, is_bag, remove_bag
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import deserialize, read_header, read_image, serialize, typestore
from vis_ros.recordings.plain_messages import plain_header, plain_message
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE, INSTANCES_TYPE, topic_name
from vis_ros.ros.messages import to_image
from vis_ros.ros.new_message import ros_message
from vis_ros.ros.serialized_instances import MessageContext, encode_masks, serialized_instances
from vis_ros.ros.stamps import to_time

SECOND = 1_000_000_000
SIZE = (240, 320)  # four messages make a chunk of an .mcap file


def image(index):
    pixels = np.full((*SIZE, 3), index, np.uint8)
    return serialize_message(to_image(pixels, 'bgr8', Header(stamp=to_time(index * SECOND), frame_id='optical')))


def write(path, count, first=0, plugin=StoragePlugin.MCAP, compression=CompressionMode.NONE, topics=('/a', '/b')):
    """Images in turn on the topics, one a second, by rosbags' own writer."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = [writer.add_connection(topic, IMAGE_TYPE, typestore=typestore()) for topic in topics]
        for index in range(first, first + count):
            writer.write(connections[index % len(topics)], index * SECOND, image(index))
    return path


def storage(bag):
    (file,) = (file for file in bag.iterdir() if file.name != 'metadata.yaml')
    return file


def numbers(reader, topics=None):
    """Which of the images are read, from their pixels."""
    topics = reader.topics if topics is None else topics
    return [int(deserialize(data, topic.type).data[0]) for topic, _, data in reader.messages(topics)]


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('compression', [CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_topics_and_messages(tmp_path, plugin, compression):
    reader = BagReader(write(tmp_path / 'bag', 7, plugin=plugin, compression=compression))
    assert [str(topic) for topic in reader.topics] == ['/a (Image, 4)', '/b (Image, 3)']
    assert reader.duration_s == 6 and reader.damage == ''
    for _ in range(2):
        assert numbers(reader) == list(range(7))
    assert numbers(reader, reader.topics[1:]) == [1, 3, 5]
    assert [ns // SECOND for _, ns, _ in reader.messages(reader.topics, start_ns=5 * SECOND)] == [5, 6]
    assert reader.of_type(INSTANCES_TYPE) == [] and reader.of_type(IMAGE_TYPE) == reader.topics


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('part', ['folder', 'file', 'folder without metadata'])
def test_a_bag_may_be_given_as_folder_or_file(tmp_path, plugin, part):
    path = write(tmp_path / 'bag', 4, plugin=plugin)
    if part == 'file':
        path = storage(path)
    elif part == 'folder without metadata':
        (path / 'metadata.yaml').unlink()
    assert is_bag(path) and numbers(BagReader(path)) == [0, 1, 2, 3]


def split(path, counts):
    """A bag split over files as rosbag2 does it, with the metadata of all of them."""
    path.mkdir()
    first, topics = 0, {}
    for number, count in enumerate(counts):
        part = write(path.parent / f'part{number}', count, first)
        storage(part).rename(path / f'bag_{number}.mcap')
        metadata = yaml.safe_load((part / 'metadata.yaml').read_text())
        for topic in metadata['rosbag2_bagfile_information']['topics_with_message_count']:
            name = topic['topic_metadata']['name']
            topics.setdefault(name, topic)['message_count'] += topic['message_count'] if name in topics else 0
        first += count
    information = metadata['rosbag2_bagfile_information']
    information['relative_file_paths'] = [f'bag_{number}.mcap' for number in range(len(counts))]
    information['topics_with_message_count'] = list(topics.values())
    (path / 'metadata.yaml').write_text(yaml.safe_dump(metadata))
    return path


@pytest.mark.parametrize('has_metadata', [True, False])
def test_a_split_bag(tmp_path, has_metadata):
    path = split(tmp_path / 'bag', [2] * 11)  # part 10 comes after part 2
    if not has_metadata:
        (path / 'metadata.yaml').unlink()
    reader = BagReader(path)
    assert [topic.count for topic in reader.topics] == [11, 11] and reader.duration_s == 21
    assert numbers(reader) == list(range(22))


def test_a_part_of_a_split_bag_that_is_missing_is_named(tmp_path):
    path = split(tmp_path / 'bag', [2, 2, 2])
    (path / 'bag_1.mcap').unlink()
    with pytest.raises(FileNotFoundError, match=r'metadata\.yaml lists bag_1\.mcap, which is missing.*reindex'):
        BagReader(path)


def test_one_topic_with_two_types_is_two(tmp_path):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for kind in (IMAGE_TYPE, 'std_msgs/msg/String'):
            writer.write(writer.add_connection('/a', kind, typestore=typestore()), 1, b'\0\1\0\0\1\0\0\0\0')
    reader = BagReader(tmp_path / 'bag')
    assert [str(topic) for topic in reader.topics] == ['/a (Image, 1)', '/a (String, 1)']
    assert [topic.type for topic, _, _ in reader.messages(reader.topics[1:])] == ['std_msgs/msg/String']


# --- broken bags ------------------------------------------------------------------------------------------------------


def test_nothing_there_and_no_bag(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no bag'):
        BagReader(tmp_path / 'nowhere')
    (tmp_path / 'notes.txt').write_text('not a bag')
    assert not is_bag(tmp_path) and not is_bag(tmp_path / 'notes.txt') and not is_bag(tmp_path / 'nowhere')
    with pytest.raises(BagError, match=r'notes\.txt is not a bag: .* \.mcap or \.db3'):
        BagReader(tmp_path / 'notes.txt')
    with pytest.raises(BagError, match=r'is not a bag: it holds neither metadata\.yaml nor \.mcap or \.db3 files'):
        BagReader(tmp_path)


KEY = 'rosbag2_bagfile_information'


@pytest.mark.parametrize('text', [f'{KEY}:\n  version: 9\n', f'{KEY}: [', f'{KEY}: \udcff', f'- {KEY}'])
def test_damaged_metadata_says_how_to_rewrite_it(tmp_path, text):
    path = write(tmp_path / 'bag', 2)
    (path / 'metadata.yaml').write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(BagError, match=r'metadata\.yaml is damaged: .*ros2 bag reindex'):
        BagReader(path)


@pytest.mark.parametrize('text', ['', ': [', '- 1', '\udcff', 'camera: front\nfps: 30\n'])
def test_a_metadata_file_of_another_program_is_not_looked_at(tmp_path, text):
    path = write(tmp_path / 'bag', 2)
    (path / 'metadata.yaml').write_bytes(text.encode(errors='surrogateescape'))
    assert is_bag(path) and numbers(BagReader(path)) == [0, 1]
    storage(path).unlink()
    assert not is_bag(path)


@pytest.mark.parametrize('suffix', ['.mcap', '.db3'])
@pytest.mark.parametrize('content', [b'', b'\0' * 1000, b'SQLite format 3\0' + b'\0' * 100])
def test_files_that_are_none(tmp_path, suffix, content):
    file = tmp_path / f'bag{suffix}'
    file.write_bytes(content)
    with pytest.raises(BagError) as caught:
        BagReader(file)
    assert str(file) in str(caught.value)
    assert ('is empty: it has no bytes' if not content else 'cannot be read as a bag') in str(caught.value)


def test_an_mcap_file_that_breaks_off_anywhere_gives_what_is_there_and_says_what_is_lost(tmp_path):
    file = storage(write(tmp_path / 'bag', 12))
    whole = file.read_bytes()
    counts, lossless = [], []
    for length in [*range(1, 12), *range(20, len(whole), 39989), *range(len(whole) - 700, len(whole), 29)]:
        file.write_bytes(whole[:length])
        read = []
        with pytest.raises(BagError) as caught:
            reader = BagReader(file)
            assert f'breaks off at byte {length}' in reader.damage and 'mcap recover' in reader.damage
            for topic, _, data in reader.messages(reader.topics):
                read.append(int(deserialize(data, topic.type).data[0]))
        assert str(file) in str(caught.value)
        assert read == list(range(len(read))), 'from the start, without gaps'
        counts.append(len(read))
        lossless.append('no message is lost' in str(caught.value))
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 12
    assert set(counts) >= {0, 5, 10, 12}, 'chunk after chunk'
    assert lossless == sorted(lossless) and {True, False} == set(lossless), 'only the index is missing in the end'
    assert all(count == 12 for count, complete in zip(counts, lossless, strict=True) if complete)


def test_a_file_that_breaks_off_is_read_on_where_time_goes_back(tmp_path):
    """Its messages have no index that could sort them: they come as they were written."""
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/a', IMAGE_TYPE, typestore=typestore())
        order = [3, 1, 2, 0, 7, 6, 5, 4, 9, 8, 11, 10]
        for index in order:
            writer.write(connection, index * SECOND, image(index))
    file = storage(tmp_path / 'bag')
    file.write_bytes(file.read_bytes()[:-50])
    reader, read = BagReader(file), []
    assert [str(topic) for topic in reader.topics] == ['/a (Image, 12)'] and reader.duration_s == 11
    with pytest.raises(BagError, match='no message is lost'):
        for topic, recorded_ns, data in reader.messages(reader.topics, start_ns=2 * SECOND):
            read.append(int(deserialize(data, topic.type).data[0]))
            assert recorded_ns == read[-1] * SECOND
    assert read == [index for index in order if index >= 2]


@pytest.mark.parametrize(('compression', 'share'), [(CompressionMode.NONE, 2 / 3), (CompressionMode.STORAGE, 1 / 3)])
def test_a_file_that_breaks_off_may_be_compressed(tmp_path, compression, share):
    file = storage(write(tmp_path / 'bag', 12, compression=compression))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    reader, read = BagReader(file), []
    with pytest.raises(BagError, match='breaks off at byte'):
        for topic, _, data in reader.messages(reader.topics):
            read.append(int(deserialize(data, topic.type).data[0]))
    assert 0 < len(read) < 12 and read == list(range(len(read)))


def test_only_the_last_part_of_a_split_bag_breaks_off(tmp_path):
    path = split(tmp_path / 'bag', [6, 12])
    last = path / 'bag_1.mcap'
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    (path / 'metadata.yaml').unlink()  # it is written at the end
    reader, read = BagReader(path), []
    with pytest.raises(BagError, match=r'bag_1\.mcap breaks off'):
        for topic, _, data in reader.messages(reader.topics):
            read.append(int(deserialize(data, topic.type).data[0]))
    assert 6 < len(read) < 18 and read == list(range(len(read)))


def test_a_last_part_of_which_nothing_is_left(tmp_path):
    path = split(tmp_path / 'bag', [2, 3, 4])
    (path / 'bag_2.mcap').write_bytes(b'')
    reader, read = BagReader(path), []
    assert 'bag_2.mcap is empty' in reader.damage
    with pytest.raises(BagError, match=r'bag_2\.mcap is empty'):
        for topic, _, data in reader.messages(reader.topics):
            read.append(int(deserialize(data, topic.type).data[0]))
    assert read == list(range(5))
    (path / 'bag_1.mcap').write_bytes(b'')
    with pytest.raises(BagError, match=r'bag_1\.mcap is empty'):
        BagReader(path)


def test_damage_in_the_middle_ends_the_reading_there(tmp_path):
    file = storage(write(tmp_path / 'bag', 12, compression=CompressionMode.STORAGE))
    data = bytearray(file.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 200] = os.urandom(200)
    file.write_bytes(data)
    reader, read = BagReader(file), []
    with pytest.raises(BagError, match=r'bag\.mcap is damaged: .*mcap recover'):
        for topic, _, message in reader.messages(reader.topics):
            read.append(int(deserialize(message, topic.type).data[0]))
    assert 0 < len(read) < 12 and read == list(range(len(read)))


def test_messages_in_the_log_of_a_database_are_not_passed_over(tmp_path):
    file = storage(write(tmp_path / 'bag', 3, plugin=StoragePlugin.SQLITE3))
    connection = sqlite3.connect(file)
    connection.execute('PRAGMA journal_mode=WAL')
    connection.execute('INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 9, ?)', (image(9),))
    connection.commit()
    shutil.copy(f'{file}-wal', tmp_path / 'kept')  # as a recorder leaves it that was killed
    shutil.copy(file, tmp_path / 'kept.db3')
    connection.close()
    killed = tmp_path / 'killed.db3'
    shutil.copy(tmp_path / 'kept.db3', killed)
    shutil.copy(tmp_path / 'kept', f'{killed}-wal')
    with pytest.raises(BagError, match=r'killed\.db3 was not closed: .*wal_checkpoint'):
        BagReader(killed)
    repaired = sqlite3.connect(killed)
    repaired.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    repaired.close()
    assert sorted(numbers(BagReader(killed))) == [0, 1, 2, 9], 'as the message advises'


# --- messages ---------------------------------------------------------------------------------------------------------


def instances_message(count=3, header=None):
    random = np.random.default_rng(0)
    rois = np.array([[index, 1, index + 3 + index, 6] for index in range(count)]).reshape(-1, 4)
    instances = Instances(
        (20, 30), rois, random.random(count), np.arange(count), rois,
        [random.integers(0, 2, (5, 3 + index), np.uint8) for index in range(count)],
        track_ids=np.arange(count) + 5, first_seen=np.arange(count) / 3,
    )  # fmt: skip
    header = header or Header(stamp=to_time(12_345_678_901), frame_id='optical')
    frame = MessageContext(header, 1, 2, 3, 'modèle', latency_ns=1_500_000_000, origin_ns=7 * SECOND)
    instances = instances.with_fields(class_names=('a', 'bb', 'ccc'))
    return serialized_instances(instances, frame, encode_masks(instances))


def assert_same_message(ours, ros, kind):
    """Byte for byte, but for the padding: it is 0 here, and in rclpy whatever was there."""
    assert len(ours) == len(ros)
    assert not any(a for a, b in zip(ours, ros, strict=True) if a != b)
    assert repr(deserialize_message(ours, kind)) == repr(deserialize_message(ros, kind))


@pytest.mark.parametrize('count', [0, 1, 2, 3])
def test_messages_are_serialized_as_ros_does_it(count):
    ours = instances_message(count)
    message = deserialize_message(ours, InstanceMaskArray)
    assert [len(found.mask_data) for found in message.instances] == [5 * (3 + index) for index in range(count)]
    assert_same_message(ours, serialize_message(message), InstanceMaskArray)
    assert serialize(message, INSTANCES_TYPE) == ours
    assert serialize(deserialize(ours, INSTANCES_TYPE), INSTANCES_TYPE) == ours


def test_plain_messages_are_serialized_as_those_of_ros():
    header = plain_header(12_345_678_901, 'optical')
    assert instances_message(3, header) == instances_message(3)
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    image = to_image(pixels, 'bgr8', Header(stamp=to_time(12_345_678_901), frame_id='optical'))
    assert serialize(to_image(pixels, 'bgr8', header, plain_message), IMAGE_TYPE) == serialize(image, IMAGE_TYPE)


@pytest.mark.parametrize('kind', [IMAGE_TYPE, INSTANCES_TYPE, COMPRESSED_TYPE])
def test_a_new_plain_message_has_the_defaults_of_ros(kind):
    assert serialize(plain_message(kind), kind) == serialize(ros_message(kind), kind)


def test_images_are_serialized_as_ros_does_it():
    data = image(7)
    assert_same_message(serialize(deserialize_message(data, Image), IMAGE_TYPE), data, Image)
    np.testing.assert_array_equal(read_image(data, IMAGE_TYPE), np.full((*SIZE, 3), 7, np.uint8))


def test_an_image_of_an_unknown_encoding_and_bytes_that_are_no_message():
    message = deserialize_message(image(0), Image)
    message.encoding = '32FC7'
    with pytest.raises(ImageError, match="'32FC7' is not supported"):
        read_image(serialize_message(message), IMAGE_TYPE)
    with pytest.raises(BagError, match=r'a message of 100 bytes is no sensor_msgs/msg/Image'):
        read_image(image(0)[:100], IMAGE_TYPE)


@pytest.mark.parametrize('frame_id', ['', 'optical', 'kamera_größe'])
def test_the_header_of_serialized_messages(frame_id):
    data = instances_message(1, Header(stamp=to_time(12_345_678_901), frame_id=frame_id))
    assert read_header(data) == (12_345_678_901, frame_id)
    assert deserialize_message(data, InstanceMaskArray).header.frame_id == frame_id
    big_endian = bytes(typestore().serialize_cdr(deserialize(image(3), IMAGE_TYPE), IMAGE_TYPE, little_endian=False))
    assert read_header(big_endian) == (3 * SECOND, 'optical')


@pytest.mark.parametrize(('sec', 'nanosec'), [(0, 0), (-1, 5), (3, 2_000_000_000)])
def test_a_stamp_that_tells_no_time_is_zero(sec, nanosec):
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    assert read_header(serialize_message(message)) == (0, '')


@pytest.mark.parametrize('length', [0, 1, 5, 15, 17, 20])
def test_a_header_that_is_cut_off(length):
    with pytest.raises(BagError, match=f'a message of {length} bytes has no whole header'):
        read_header(image(1)[:length])


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_a_bag_for_others(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
        bag.add_topic('/instances', INSTANCES_TYPE)
        for index in range(5):
            bag.write('/image', index * SECOND, image(index))
        bag.write('/instances', 5 * SECOND, instances_message())
    information = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert (information['version'], information['storage_identifier']) == (8, 'mcap')
    with AnyReader([tmp_path / 'bag']) as reader:
        read = [(c.topic, ns, reader.deserialize(data, c.msgtype)) for c, ns, data in reader.messages()]
    assert [(topic, ns // SECOND) for topic, ns, _ in read] == [('/image', n) for n in range(5)] + [('/instances', 5)]
    assert [message.data[0] for _, _, message in read[:5]] == list(range(5))


def test_a_bag_is_whole_after_an_error_too(tmp_path):
    with pytest.raises(RuntimeError), BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
        bag.write('/image', 1, image(1))
        raise RuntimeError
    reader = BagReader(tmp_path / 'bag')
    assert reader.damage == '' and numbers(reader) == [1]


def test_a_bag_without_messages(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
    reader = BagReader(tmp_path / 'bag')
    assert [str(topic) for topic in reader.topics] == ['/image (Image, 0)'] and reader.duration_s == 0
    assert numbers(reader) == []


def test_nothing_is_written_over_and_only_bags_are_removed(tmp_path):
    path = write(tmp_path / 'bag', 1)
    with pytest.raises(FileExistsError, match='exists'):
        BagWriter(path)
    (path / 'notes.txt').touch()
    with pytest.raises(FileExistsError, match='is not a bag folder and is not replaced'):
        remove_bag(path)
    (path / 'notes.txt').unlink()
    remove_bag(path)
    remove_bag(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ('text', 'name'), [('front', 'front'), ('bmx-trees', 'bmx_trees'), ('0001', '_0001'), ('a b/c', 'a_b_c'), ('', '_')]
)
def test_names_as_parts_of_topics(text, name):
    assert topic_name(text) == name
