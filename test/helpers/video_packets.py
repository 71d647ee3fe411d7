"""H.264 and H.265 packets, encoded by PyAV, and messages with them; and their frames as PyAV reads a file of them."""

from fractions import Fraction
from io import BytesIO

import av
import cv2
import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

FFMPEG, FOXGLOVE, COMPRESSED = (
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
    'foxglove_msgs/msg/CompressedVideo',
    'sensor_msgs/msg/CompressedImage',
)
DEFINITIONS = {
    FFMPEG: 'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n'
    'bool is_bigendian\nuint8[] data\n',
    FOXGLOVE: 'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n',
}
ENCODERS = {'h264': 'libx264', 'hevc': 'libx265'}
RATE = 10


def typestore():
    """Rosbags' types with those of video messages."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


def scene(count, size=(64, 96)):
    """(H, W, 3) uint8 BGR images with a square that moves over a pattern."""
    pattern = np.random.default_rng(1).integers(0, 255, (8, 12, 3), np.uint8)
    back = cv2.resize(pattern, size[::-1], interpolation=cv2.INTER_CUBIC)
    images = [np.roll(back, 2 * index, axis=1).copy() for index in range(count)]
    for index, image in enumerate(images):
        image[10:30, 3 * index : 3 * index + 20] = (20, 30, 230)
    return images


def encode(images, codec='h264', gop=5, b_frames=0, more=''):
    """The packets of a video, in the order in which an encoder sends them: (position of the image, is key, bytes).

    `more`: options of the encoder.
    """
    height, width = images[0].shape[:2]
    context = av.CodecContext.create(ENCODERS[codec], 'w')
    context.width, context.height, context.pix_fmt = width, height, 'yuv420p'
    context.time_base, context.framerate = Fraction(1, RATE), RATE
    context.max_b_frames = b_frames
    options = f'keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:open-gop=0{more}'
    context.options = (
        {'x264-params': f'{options}:threads=1', 'tune': 'psnr'}
        if codec == 'h264'
        else {'x265-params': f'{options}:log-level=none:repeat-headers=1:pools=1:frame-threads=1'}
    )
    packets = []
    for index, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format='bgr24')
        frame.pts = index
        packets += context.encode(frame)
    packets += context.encode(None)
    return [(packet.pts, packet.is_keyframe, bytes(packet)) for packet in packets]


def read_as_file(packets, codec='h264'):
    """The frames of packets (a list of bytes) as PyAV reads them from a file, in the order of display."""
    with av.open(BytesIO(b''.join(packets)), format=codec) as file:
        return [frame.to_ndarray(format='bgr24') for frame in file.decode(video=0)]


def packet_message(kind, data, stamp_ns, codec='h264', store=None, is_key=False):
    """A serialized message with one packet, of rosbags' classes."""
    store = store or typestore()
    types = store.types
    time = types['builtin_interfaces/msg/Time'](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    header = types['std_msgs/msg/Header'](stamp=time, frame_id='eye')
    array = np.frombuffer(data, np.uint8)
    format = {'h264': 'h264', 'hevc': 'h265'}[codec]
    if kind == FFMPEG:
        message = types[kind](
            header=header,
            width=96,
            height=64,
            encoding=f'{ENCODERS[codec]};yuv420p;bgr8;bgr8',
            pts=stamp_ns,
            flags=int(is_key),
            is_bigendian=False,
            data=array,
        )
    elif kind == FOXGLOVE:
        message = types[kind](timestamp=time, frame_id='eye', data=array, format=format)
    else:
        message = types[kind](header=header, format=format, data=array)
    return bytes(store.serialize_cdr(message, kind))
