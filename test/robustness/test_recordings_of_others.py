"""Recordings that users reported as lost, refused or read wrongly, similar ones, and the correct result of each."""

import json
import shutil
import sqlite3
import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.rectangles import RED, RectangleEngine, draw
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from test_bag_depth import TOPICS, bag, info

from vis_ros.images import ImageError, decode_compressed, decode_file
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.opening import open_recording, open_recordings
from vis_ros.recordings.recording import MISSING, OTHER_FRAME, UNREADABLE, NoFrameError
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import to_time
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

COUNT = 8
IMAGE_TYPE = 'sensor_msgs/msg/Image'


def message(index):
    return serialize_message(
        to_image(draw((index, 5, index + 10, 15, RED)), 'bgr8', Header(stamp=to_time(10**9 + index)))
    )


def write_mcap(path, *, other=None, count=COUNT, profile='ros2', **options):
    """COUNT images on /image, in chunks of two; `other`: (encoding, schema encoding, type) of a channel beside it."""
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=15_000, **{'compression': CompressionType.NONE, **options})
        writer.start(profile, library='test')
        schema = writer.register_schema(IMAGE_TYPE, 'ros2msg', b'')
        channel = writer.register_channel('/image', 'cdr', schema)
        if other:
            encoding, schema_encoding, name = other
            beside = writer.register_channel('/other', encoding, writer.register_schema(name, schema_encoding, b'{}'))
            writer.add_message(beside, 10**9, b'{}', 10**9)
        for index in range(count):
            writer.add_message(channel, 10**9 + index, message(index), 10**9 + index)
        writer.finish()
    return path


def frames(path, **options):
    return len(list(open_recording(path, **options)))


def without_some_message_indexes(path):
    """The second half of the chunks has no message index: their entries in the index of chunks have no offsets."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from('<Q', data, len(data) - 28)
    places, position = [], start
    while data[position] != 2:
        (length,) = struct.unpack_from('<Q', data, position + 1)
        places += [(position, length)] if data[position] == 8 else []
        position += 9 + length
    assert len(places) >= 4
    for place, length in reversed(places[len(places) // 2 :]):
        (offsets,) = struct.unpack_from('<I', data, place + 41)
        data[place + 1 : place + 9] = struct.pack('<Q', length - offsets)
        data[place + 41 : place + 45 + offsets] = struct.pack('<I', 0)
    path.write_bytes(data)
    return path


# --- counted, or told -------------------------------------------------------------------------------------------------


def test_chunks_without_a_message_index_are_read(tmp_path):
    assert frames(without_some_message_indexes(write_mcap(tmp_path / 'half.mcap'))) == COUNT
    none = write_mcap(tmp_path / 'none.mcap', index_types=IndexType.ALL & ~IndexType.MESSAGE)
    assert frames(none) == COUNT


@pytest.mark.parametrize(
    'options', [{'index_types': IndexType.NONE}, {'use_chunking': False}, {'use_statistics': False}]
)
def test_a_file_without_an_index_is_read_from_start_to_end(tmp_path, options):
    assert frames(write_mcap(tmp_path / 'x.mcap', **options)) == COUNT


def test_messages_that_the_index_counts_and_the_file_lacks_are_an_error_after_those_that_are_there(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap')
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from('<Q', data, len(data) - 28)
    position = start
    while data[position] != 11:
        position += 9 + struct.unpack_from('<Q', data, position + 1)[0]
    assert struct.unpack_from('<Q', data, position + 9) == (COUNT,)
    data[position + 9 : position + 17] = struct.pack('<Q', COUNT + 3)
    (entries,) = struct.unpack_from('<I', data, position + 9 + 42)
    assert entries == 10
    data[position + 9 + 48 : position + 9 + 56] = struct.pack('<Q', COUNT + 3)
    path.write_bytes(data)
    read = []
    with pytest.raises(BagError, match=r'lacks messages that its own index counts: 3 of the 11 of /image'):
        for frame in open_recording(path):
            read.append(frame)
    assert len(read) == COUNT


def test_a_truncated_jpeg_in_a_folder_is_skipped_and_told(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'{index}.jpg'), draw((index, 5, index + 30, 40, RED)))
    whole = (tmp_path / '1.jpg').read_bytes()
    (tmp_path / '1.jpg').write_bytes(whole[: len(whole) // 3])
    recording = open_recording(tmp_path)
    assert [frame.name for frame in recording] == ['0.jpg', '2.jpg']
    assert recording.skips == {UNREADABLE: 1} and '1.jpg cannot be decoded: corrupt JPEG' in recording.last_problem


def test_a_jpeg_with_a_video_behind_it_is_whole(tmp_path):
    """Phones append one ("motion photo"), and cameras a thumbnail or padding."""
    whole = cv2.imencode('.jpg', draw((5, 5, 20, 30, RED)))[1].tobytes()
    expected = decode_file(whole)
    for behind in (b'\0' * 5000, b'ftypmp42' * 900, whole[: len(whole) // 2]):
        np.testing.assert_array_equal(decode_file(whole + behind), expected)
    with pytest.raises(ImageError, match='breaks off'):
        decode_file(whole[:-300] + b'\0' * 300)


def test_further_pages_of_a_tiff_are_missing(tmp_path):
    cv2.imwritemulti(str(tmp_path / 'scan.tif'), [draw(), draw(), draw()])
    recording = open_recording(tmp_path)
    assert len(list(recording)) == 1 and recording.skips == {MISSING: 2}


def test_sequences_beside_a_stray_picture_are_told(tmp_path):
    for name in ('seq1', 'seq2'):
        (tmp_path / 'in' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'in' / name / '0.png'), draw())
    cv2.imwrite(str(tmp_path / 'in' / 'preview.png'), draw((3, 3, 20, 20, RED)))
    model = Model(Settings(weights='rectangles'), engine_factory=RectangleEngine)
    summary = replay(open_recordings(tmp_path / 'in'), model, tmp_path / 'out', codecs=('mp4v',))
    (text,) = summary.left_out
    assert 'also holds seq1, seq2: only its own images are read' in text and not summary.is_complete
    assert json.loads((tmp_path / 'out' / 'run.json').read_text())['left_out'] == [text]
    (tmp_path / 'in' / 'preview.png').unlink()
    (tmp_path / 'in' / 'clip.mp4').touch()
    (text,) = open_recordings(tmp_path / 'in')[0].left_out
    assert 'also holds clip.mp4: only the folders with images are read' in text


# --- guesses ----------------------------------------------------------------------------------------------------------


def test_images_of_16_bits_say_their_range_and_take_another(tmp_path):
    """Thermal images from 7500 to 9000 are nearly black on the whole range."""
    thermal = np.linspace(7500, 9000, 48 * 64).reshape(48, 64).astype(np.uint16)
    for suffix in ('.png', '.tif'):
        cv2.imwrite(str(tmp_path / f'0{suffix}'), thermal)
    recording = open_recording(tmp_path)
    for frame in recording:
        np.testing.assert_array_equal(frame.image[..., 1], np.rint(thermal / 257))
    (text,) = recording.inferred
    assert '16-bit images with values 7500 to 9000: 0 is black and 65535 white' in text
    recording.scale16 = Settings(black_level=7500, white_level=9000).scale16()
    for frame in recording:
        np.testing.assert_allclose(frame.image[..., 1], (thermal - 7500.0) / 1500 * 255, atol=0.51)
    with pytest.raises(ValueError, match='black_level is 9, but must be below white_level, 9'):
        Settings(black_level=9, white_level=9).check_together()


@pytest.mark.parametrize('format', ['16UC1; png compressed ', '32FC1; png compressed', '16UC1; compressedDepth png'])
def test_a_compressed_depth_image_is_no_picture(format):
    data = cv2.imencode('.png', np.full((4, 5), 900, np.uint16))[1].tobytes()
    with pytest.raises(ImageError, match='is a depth image, not a picture'):
        decode_compressed(format, data)
    assert decode_compressed('mono16; png compressed', data).max() == round(900 / 257)


@pytest.mark.parametrize(
    ('depth_frame', 'info_frame'), [('other_depth', 'camera_optical'), ('camera_optical', 'other')]
)
def test_depth_or_calibration_of_another_frame_is_told(tmp_path, depth_frame, info_frame):
    changed = info()
    changed.header.frame_id = info_frame
    path = bag(tmp_path / 'bag', [(0, 0)], [(0, 1, 2.0)], [changed])
    if depth_frame != 'camera_optical':
        path = rewrite(tmp_path, path, depth_frame)
    recording = open_recording(path, topic='/image', depth=TOPICS)
    (frame,) = recording
    assert frame.depth is not None and recording.warnings == {OTHER_FRAME: 1}
    (text,) = recording.inferred
    assert 'was used as registered to the images of the frame' in text


def rewrite(folder, source, frame_id):
    """The bag with another frame in the headers of its depth images."""
    from rclpy.serialization import deserialize_message

    from vis_ros.recordings.bag_writer import BagWriter

    reader = BagReader(source)
    with BagWriter(folder / 'changed') as written:
        for topic in reader.topics:
            written.add_topic(topic.name, topic.type)
        for topic, recorded_ns, data in reader.messages(reader.topics):
            if topic.name == '/depth':
                image = deserialize_message(data, Image)
                image.header.frame_id = frame_id
                data = serialize_message(image)
            written.write(topic.name, recorded_ns, data)
    return folder / 'changed'


# --- one library does not decide for a whole file ---------------------------------------------------------------------


@pytest.mark.parametrize(
    'other',
    [
        ('json', 'jsonschema', 'Status'),
        ('protobuf', 'protobuf', 'foxglove.Log'),
        ('ros1', 'ros1msg', 'std_msgs/String'),
    ],
)
def test_channels_of_other_programs_are_left_out(tmp_path, other):
    path = write_mcap(tmp_path / 'x.mcap', other=other)
    assert frames(path) == COUNT
    (foreign,) = BagReader(path).foreign
    assert (foreign.name, foreign.count, foreign.type) == ('/other', 1, f'{other[2]} in {other[0]}')
    assert not open_recording(path).left_out


def test_images_in_another_serialization_are_told(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', other=('protobuf', 'protobuf', 'foxglove.CompressedImage'))
    (text,) = open_recording(path).left_out
    assert '/other (foxglove.CompressedImage in protobuf, 1)' in text
    assert not open_recording(path, '/image').left_out, 'the topic was chosen'


def test_the_profile_and_the_suffix_do_not_matter(tmp_path):
    assert frames(write_mcap(tmp_path / 'DRIVE.MCAP', profile='')) == COUNT
    shutil.copy(tmp_path / 'DRIVE.MCAP', tmp_path / 'drive.recording')
    assert frames(tmp_path / 'drive.recording') == COUNT


def write_db3(path, serialization='cdr'):
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute('CREATE TABLE topics (id INTEGER PRIMARY KEY, name, type, serialization_format)')
    database.execute('CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id, timestamp, data)')
    database.execute("INSERT INTO topics VALUES (1, '/image', ?, 'cdr')", (IMAGE_TYPE,))
    database.execute("INSERT INTO topics VALUES (2, '/other', 'Status', ?)", (serialization,))
    rows = [(1, 10**9 + index, message(index)) for index in range(COUNT)]
    database.executemany('INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)', [*rows, (2, 5, b'{}')])
    database.commit()
    database.close()
    return path


@pytest.mark.parametrize('folder', ['run#3', 'run 50%20', 'what?', 'ü'])
def test_the_path_of_a_database_may_have_any_character(tmp_path, folder):
    assert frames(write_db3(tmp_path / folder / 'b.db3')) == COUNT
    assert frames(tmp_path / folder) == COUNT


def test_a_database_with_a_topic_of_json_and_the_suffix_of_the_other_format(tmp_path):
    path = write_db3(tmp_path / 'b.mcap', 'json')
    assert frames(path) == COUNT
    assert [str(topic) for topic in BagReader(path).foreign] == ['/other (Status in json, 1)']


def test_a_metadata_file_of_another_program_makes_no_bag(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), draw())
    (tmp_path / 'metadata.yaml').write_text('camera: front\nfps: 30\n')
    assert frames(tmp_path) == 1


# --- formats by content -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        ('drive.bag', b'#ROSBAG V2.0\n', r'a ROS 1 bag; convert it: rosbags-convert --src .*drive\.bag'),
        ('clip.mp4', b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'),
        ('clip.mp4', b'<!DOCTYPE html><html>', 'an HTML page: the file itself was not downloaded'),
        ('photo.heic', b'\0\0\0\x18ftypheic', 'a HEIC image; convert it to PNG or JPEG'),
        ('frames.zip', b'PK\x03\x04', 'a ZIP archive; unpack it first'),
        ('frames.tar.gz', b'\x1f\x8b\x08', 'compressed with gzip; unpack it first'),
        ('clip.avi', bytes(100), 'full of zeros'),
    ],
)
def test_other_formats_are_named_with_what_to_do(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=told):
        open_recording(tmp_path / name)


def test_a_video_whose_codec_cannot_be_decoded_is_named(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / 'clip.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(5):
        writer.write(draw())
    writer.release()
    data = (tmp_path / 'clip.avi').read_bytes()
    (tmp_path / 'other.avi').write_bytes(data.replace(b'MJPG', b'VVC1'))
    with pytest.raises(
        NoFrameError, match=r"cannot decode its codec 'vvc1', or the file is damaged.*ffmpeg -i .*other\.avi"
    ):
        list(open_recording(tmp_path / 'other.avi'))
    (tmp_path / 'none.avi').write_bytes(data.replace(b'MJPG', b'NONE'))
    with pytest.raises(ValueError, match=r'unknown format or codec\. If another player opens it, re-encode it: ffmpeg'):
        list(open_recording(tmp_path / 'none.avi'))


@pytest.mark.parametrize('encoding', ['json', 'protobuf'])
def test_a_bag_with_only_video_in_another_serialization_lists_it(tmp_path, encoding):
    with (tmp_path / 'x.mcap').open('wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        writer.add_message(
            writer.register_channel(
                '/video', encoding, writer.register_schema('foxglove.CompressedVideo', encoding, b'')
            ),
            1,
            b'',
            1,
        )
        writer.finish()
    told = rf'no topic with images.*It has /video \(foxglove.CompressedVideo in {encoding}, 1\)\. Video is read from'
    with pytest.raises(ValueError, match=told):
        open_recording(tmp_path / 'x.mcap')


def test_a_container_that_only_estimates_its_frames_has_no_count(tmp_path):
    for name in ('clip.mkv', 'clip.avi'):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
        for _ in range(5):
            writer.write(draw())
        writer.release()
    assert open_recording(tmp_path / 'clip.avi').count == 5
    estimated = open_recording(tmp_path / 'clip.mkv')
    assert estimated.count is None and len(list(estimated)) == 5 and not estimated.skips


# --- every byte has a limit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('compression', [CompressionType.ZSTD, CompressionType.LZ4])
@pytest.mark.parametrize('is_closed', [True, False])
def test_a_chunk_that_would_fill_the_memory_is_not_unpacked(tmp_path, compression, is_closed):
    path = tmp_path / 'bomb.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=1 << 40, compression=compression)
        writer.start('ros2')
        schema = writer.register_schema(IMAGE_TYPE, 'ros2msg', b'')
        writer.add_message(writer.register_channel('/image', 'cdr', schema), 1, bytes((1 << 28) + 1), 1)
        writer.finish()
    if not is_closed:
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r'claims to unpack to 2684\d+; the limit is 268435456|breaks off|no message'):
        list(open_recording(path))


def test_a_chunk_that_unpacks_to_more_than_it_says_is_an_error(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', compression=CompressionType.ZSTD)
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack('<B', 6), 60)
    while data[place + 9 + 28 : place + 9 + 36] != b'\4\0\0\0zstd':
        place = data.index(6, place + 1)
    (size,) = struct.unpack_from('<Q', data, place + 9 + 16)
    struct.pack_into('<Q', data, place + 9 + 16, size - 1)
    path.write_bytes(data)
    with pytest.raises(BagError, match='unpacks to more than'):
        list(open_recording(path))


def jpeg(size=(48, 64), *parameters):
    return bytearray(cv2.imencode('.jpg', np.full((*size, 3), 90, np.uint8), list(parameters))[1].tobytes())


def test_the_size_in_the_header_of_a_jpeg_is_checked_before_decoding():
    data = jpeg()
    place = data.index(b'\xff\xc0') + 5
    struct.pack_into('>HH', data, place, 20000, 20000)
    with pytest.raises(ImageError, match='20000x20000 pixels, more than the limit of 67108864'):
        decode_compressed('jpeg', bytes(data))
    struct.pack_into('>HH', data, place, 4000, 4000)
    with pytest.raises(ImageError, match=rf'its header says 4000x4000 pixels, but it has {len(data)} bytes'):
        decode_compressed('jpeg', bytes(data))


def test_a_jpeg_of_a_thousand_scans_is_refused():
    data = bytes(jpeg((48, 64), cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    assert decode_compressed('jpeg', data).shape == (48, 64, 3)
    last = data.rindex(b'\xff\xda')
    with pytest.raises(ImageError, match='scans, more than the limit of 100'):
        decode_compressed('jpeg', data[:last] + data[last:-2] * 1000 + data[-2:])


def test_other_formats_are_limited_too(tmp_path):
    header = struct.pack('>IIBBBBB', 30000, 30000, 8, 0, 0, 0, 0)
    chunk = struct.pack('>I', 13) + b'IHDR' + header + struct.pack('>I', zlib.crc32(b'IHDR' + header))
    with pytest.raises(ImageError, match='30000x30000 pixels, more than the limit'):
        decode_file(b'\x89PNG\r\n\x1a\n' + chunk + bytes(100))
    bitmap = bytearray(cv2.imencode('.bmp', np.zeros((2, 2, 3), np.uint8))[1].tobytes())
    struct.pack_into('<ii', bitmap, 18, 30000, 30000)
    with pytest.raises(ImageError, match='30000x30000 pixels, more than the limit'):
        decode_file(bytes(bitmap))
    with pytest.raises(ImageError, match=r'no image that OpenCV can read|more than 67108864 pixels'):
        decode_file(b'P5\n30000 30000\n255\n' + bytes(100))


@pytest.mark.parametrize('channels', [1, 3])
def test_an_image_of_floating_point_values_says_so(channels):
    values = np.random.default_rng(0).random((40, 50, channels), np.float32)
    with pytest.raises(ImageError, match='the image has values of type float32; convert it to 8 or 16 bits'):
        decode_file(cv2.imencode('.tiff', values)[1])


def test_a_hostile_image_costs_only_itself(tmp_path):
    """In a bag, the images around it are read."""
    from vis_ros.recordings.bag_writer import BagWriter

    data = jpeg()
    bad = bytearray(data)
    struct.pack_into('>HH', bad, bad.index(b'\xff\xc0') + 5, 32000, 32000)
    with BagWriter(tmp_path / 'bag') as written:
        written.add_topic('/image', 'sensor_msgs/msg/CompressedImage')
        for index, content in enumerate((data, bad, data)):
            header = Header(stamp=to_time(10**9 + index * 10**8))
            image = CompressedImage(header=header, format='jpeg', data=bytes(content))
            written.write('/image', 10**9 + index * 10**8, serialize_message(image))
    recording = open_recording(tmp_path / 'bag')
    assert [frame.index for frame in recording] == [0, 2] and recording.skips == {UNREADABLE: 1}
