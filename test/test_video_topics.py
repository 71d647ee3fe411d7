"""H.264 and H.265 in the topics of bags: frames against PyAV reading the same stream as a file."""

import json
from importlib import util
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.video_packets import (
    COMPRESSED,
    FFMPEG,
    FOXGLOVE,
    RATE,
    encode,
    packet_message,
    read_as_file,
    scene,
    typestore,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from typer.testing import CliRunner

from vis_ros.cli.main import app
from vis_ros.datasets.images_by_stamp import VideoByStamp
from vis_ros.datasets.problems import AnnotationError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.recording import NoFrameError
from vis_ros.video.video_decoder import PacketError, VideoDecoder
from vis_ros.video.video_packet import VideoPacket

START_NS, STEP_NS = 1_000_000_000_000, 10**9 // RATE


def bag_of(path, packets, kind=FOXGLOVE, codec='h264', plugin=StoragePlugin.MCAP):
    """A bag with one message a packet: (position of the image, is key, bytes). Recorded in the order of the list."""
    store = typestore()
    with Writer(path, version=9, storage_plugin=plugin) as bag:
        connection = bag.add_connection('/eye/image/video', kind, typestore=store)
        for place, (index, is_key, data) in enumerate(packets):
            message = packet_message(kind, data, START_NS + index * STEP_NS, codec, store, is_key)
            bag.write(connection, START_NS + place * STEP_NS + 5, message)
    return path


def indices(frames):
    """The positions of the images in the scene, by the stamps."""
    return [(frame.stamp_ns - START_NS) // STEP_NS for frame in frames]


@pytest.mark.parametrize('b_frames', [0, 2])
@pytest.mark.parametrize('codec', ['h264', 'hevc'])
@pytest.mark.parametrize('kind', [FFMPEG, FOXGLOVE, COMPRESSED])
def test_the_frames_are_those_of_the_stream_as_a_file(tmp_path, kind, codec, b_frames):
    packets = encode(scene(13), codec, b_frames=b_frames)
    expected = read_as_file([data for _, _, data in packets], codec)
    assert len(expected) == 13
    recording = open_recording(bag_of(tmp_path / 'bag', packets, kind, codec))
    for _ in range(2):  # a recording can be read again
        frames = list(recording)
        assert indices(frames) == list(range(13))
        assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, expected, strict=True))
        assert [frame.index for frame in frames] == list(range(13))
        assert {frame.frame_id for frame in frames} == {'eye'} and not recording.skips
        # Where frames are displayed in another order than they are sent, the bag has them out of order, but not here:
        assert not recording.warnings


def test_a_stride_leaves_out_images_but_no_packets(tmp_path):
    packets = encode(scene(13))
    expected = read_as_file([data for _, _, data in packets])
    frames = list(open_recording(bag_of(tmp_path / 'bag', packets, plugin=StoragePlugin.SQLITE3)).frames(3))
    assert indices(frames) == [0, 3, 6, 9, 12]
    assert all(np.array_equal(frame.image, expected[i]) for frame, i in zip(frames, range(0, 13, 3), strict=True))


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_packets_before_the_first_key_frame_are_counted(tmp_path, codec):
    packets = encode(scene(13), codec)
    expected = read_as_file([data for _, _, data in packets], codec)
    recording = open_recording(bag_of(tmp_path / 'bag', packets[2:], codec=codec))
    frames = list(recording)
    assert indices(frames) == list(range(5, 13)) and [frame.index for frame in frames] == list(range(3, 11))
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, expected[5:], strict=True))
    assert dict(recording.skips) == {'before the first key frame': 3} and frames[0].dropped == 3


@pytest.mark.parametrize('b_frames', [0, 2])
@pytest.mark.parametrize('codec', ['h264', 'hevc'])
@pytest.mark.parametrize('lost', [5, 7], ids=['a key frame', 'another frame'])
def test_after_a_lost_packet_nothing_comes_until_the_next_key_frame(tmp_path, codec, lost, b_frames):
    packets = encode(scene(15), codec, b_frames=b_frames)
    expected = read_as_file([data for _, _, data in packets], codec)
    sent = [packet for packet in packets if packet[0] != lost]
    recording = open_recording(bag_of(tmp_path / 'bag', sent, codec=codec))
    frames = list(recording)
    found = indices(frames)
    assert [*range(5), *range(10, 15)] == [index for index in found if index not in range(5, 10)]
    for frame, index in zip(frames, found, strict=True):
        assert np.array_equal(frame.image, expected[index]), f'image {index} is not that of the stream'
    assert len(found) + recording.skipped == 14 and recording.skips['after a lost or damaged video packet']


@pytest.mark.parametrize(
    ('codec', 'b_frames', 'more'),
    [
        ('h264', 3, ':open-gop=1:b-pyramid=normal'),
        ('h264', 0, ':intra-refresh=1'),
        ('h264', 2, ':interlaced=1'),
        ('h264', 0, ':slices=4:ref=4'),
        ('hevc', 3, ':open-gop=1:b-pyramid=1'),
        ('hevc', 3, ':temporal-layers=2'),
    ],
)
def test_no_image_is_wrong_whatever_is_lost(codec, b_frames, more):
    packets = encode(scene(120), codec, 20, b_frames, more)
    expected = read_as_file([data for _, _, data in packets], codec)
    drop = {*range(3), *np.random.default_rng(3).choice(120, 4, replace=False).tolist()}
    for sent in (packets, [packet for place, packet in enumerate(packets) if place not in drop]):
        lost, given = [], []
        decoder = VideoDecoder(lambda index, error, lost=lost: lost.append(index))
        results = [each for index, _, data in sent for each in decoder.put(index, VideoPacket(codec, data))]
        for index, pixels in [*results, *decoder.end()]:
            try:
                assert np.array_equal(pixels(), expected[index])
                given.append(index)
            except PacketError:
                lost.append(index)
        assert sorted([*given, *lost]) == sorted(index for index, _, _ in sent)
        assert given == sorted(given) and (len(given) == 120 if sent is packets else len(given) > 30)


@pytest.mark.parametrize('b_frames', [0, 2])
def test_a_packet_that_is_cut_costs_its_group(tmp_path, b_frames):
    packets = encode(scene(15), b_frames=b_frames)
    expected = read_as_file([data for _, _, data in packets])
    place = next(i for i, packet in enumerate(packets) if packet[0] == 5)
    index, is_key, data = packets[place]
    packets[place] = index, is_key, data[: len(data) // 2]
    recording = open_recording(bag_of(tmp_path / 'bag', packets))
    frames = list(recording)
    assert all(np.array_equal(frame.image, expected[i]) for frame, i in zip(frames, indices(frames), strict=True))
    assert not set(indices(frames)) & set(range(5, 10)) and set(range(10, 15)) < set(indices(frames))
    assert set(recording.skips) == {'unreadable', 'after a lost or damaged video packet'}
    assert len(frames) + recording.skipped == 15


def test_a_packet_that_was_recorded_twice_changes_nothing(tmp_path):
    packets = encode(scene(13))
    expected = read_as_file([data for _, _, data in packets])
    recording = open_recording(bag_of(tmp_path / 'bag', [*packets[:3], *packets[2:6], *packets[5:]]))
    frames = list(recording)
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, expected, strict=True))
    assert dict(recording.skips) == {'recorded twice': 2}


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
@pytest.mark.parametrize('later', [2, 3])
@pytest.mark.parametrize('place', range(6, 10))
def test_a_packet_that_comes_again_after_others_changes_nothing(codec, later, place):
    packets = encode(scene(20), codec, gop=20, b_frames=2)
    expected = read_as_file([data for _, _, data in packets], codec)
    sent = [*packets[: place + later], packets[place], *packets[place + later :]]
    decoder = VideoDecoder(lambda item, error: pytest.fail(str(error)))
    images, errors = [], []
    results = [each for item in enumerate(sent) for each in decoder.put(item, VideoPacket(codec, item[1][2]))]
    for (at, (index, _, _)), pixels in [*results, *decoder.end()]:
        try:
            images.append((index, pixels()))
        except PacketError as error:
            errors.append((at, error.reason))
    assert errors == [(place + later, 'recorded twice')] and [index for index, _ in images] == list(range(20))
    assert all(np.array_equal(image, expected[index]) for index, image in images)


@pytest.mark.parametrize(
    ('data', 'told'),
    [
        (b'', 'without start code'),
        (b'\0\0\0\x10' + bytes(range(16)), 'without start code .*start with 00 00 00 10'),
        (b'\0\0\1', 'without start code'),
        (b'\0\0\0\1\x67\x42', 'no picture'),
        (b'\0\0\0\1\x65' + b'\xff' * 50, 'is damaged'),
    ],
)
def test_bytes_that_are_no_video_are_told(tmp_path, data, told):
    recording = open_recording(bag_of(tmp_path / 'bag', [(0, True, data)]))
    with pytest.raises(NoFrameError, match=told):
        list(recording)


def test_damage_anywhere_never_raises(tmp_path):
    random = np.random.default_rng(7)
    for codec in ('h264', 'hevc'):
        packets = encode(scene(12), codec, b_frames=2)
        for attempt in range(20):
            damaged = [(i, key, bytearray(data)) for i, key, data in packets]
            for _, _, data in (damaged[int(each)] for each in random.integers(0, 12, 3)):
                data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
            bag = bag_of(tmp_path / f'{codec}{attempt}', [(i, key, bytes(data)) for i, key, data in damaged])
            recording = open_recording(bag)
            try:
                frames = len(list(recording))
            except NoFrameError:
                frames = 0
            assert frames + recording.skipped == 12


def test_too_large_images_are_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.video.video_decoder.LARGEST_IMAGE', 64 * 96 - 1)
    for codec in ('h264', 'hevc'):
        recording = open_recording(bag_of(tmp_path / codec, encode(scene(3), codec), codec=codec))
        with pytest.raises(NoFrameError, match='limit of 6143'):
            list(recording)


def test_another_codec_is_named(tmp_path):
    store = typestore()
    with Writer(tmp_path / 'bag', version=9) as bag:
        connection = bag.add_connection('/eye', FOXGLOVE, typestore=store)
        message = packet_message(FOXGLOVE, b'\0\0\1\x65', START_NS, store=store).replace(b'h264', b'av1\0')
        bag.write(connection, START_NS, message)
    with pytest.raises(NoFrameError, match=r"video of format 'av1.*' is not supported; supported are h264 and h265"):
        list(open_recording(tmp_path / 'bag'))


@pytest.mark.parametrize('kind', [FFMPEG, COMPRESSED])
def test_without_pyav_the_command_to_install_it_is_told(tmp_path, monkeypatch, kind):
    bag = bag_of(tmp_path / 'bag', encode(scene(3)), kind)
    find_spec = util.find_spec
    monkeypatch.setattr('vis_ros.extras.find_spec', lambda name: None if name == 'av' else find_spec(name))
    with pytest.raises(ValueError, match=r'/eye/image/video needs av, .*: pip install av.*\[video\]'):
        open_recording(bag)


def test_a_replay_says_which_packets_gave_no_image(tmp_path, monkeypatch):
    bag_of(tmp_path / 'bag', encode(scene(12))[2:], COMPRESSED)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ['replay', 'bag', '--out', 'run', '--no-pictures', '--threads', '1'])
    run = json.loads(Path('run/run.json').read_text())
    assert '3 before the first key frame' in ' '.join(result.output.split())
    assert run['frames'] == 7 and run['skips'] == {'before the first key frame': 3}
    lines = [json.loads(line) for line in Path('run/results.jsonl').read_text().splitlines()]
    assert [line['stamp_ns'] for line in lines] == [START_NS + index * STEP_NS for index in range(5, 12)]
    assert lines[0]['dropped'] == 3
    refused = CliRunner().invoke(app, ['replay', 'bag', '--out', 'copy', '--copy-images'])
    assert 'are video, of which no image can be copied' in str(refused.exception)


def test_annotations_find_their_images_in_a_video(tmp_path):
    packets = encode(scene(12), b_frames=2)
    expected = read_as_file([data for _, _, data in packets])
    bag = bag_of(tmp_path / 'bag', packets, FFMPEG)
    reader = BagReader(bag)
    (topic,) = reader.image_topics
    images = VideoByStamp(reader, topic)
    for index in (0, 1, 4, 11, 3, 3):
        assert np.array_equal(images.read(START_NS + index * STEP_NS), expected[index])
    with pytest.raises(AnnotationError, match=r'stamp 1000\.000000001 s.*no image with this stamp'):
        images.read(START_NS + 1)


def test_h265_is_refused_where_the_decoder_does_not_report_what_is_missing(tmp_path, monkeypatch):
    bag = bag_of(tmp_path / 'bag', encode(scene(3), 'hevc'), codec='hevc')
    monkeypatch.setitem(av.library_versions, 'libavcodec', (61, 19, 101))
    with pytest.raises(NoFrameError, match=r'H\.265 needs PyAV 16 or later.*pip install -U av'):
        list(open_recording(bag))
