"""Serialized image messages, against the serialization of rclpy and of rosbags."""

import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from vis_ros.image_headers import ImageError
from vis_ros.recordings.cdr import typestore
from vis_ros.ros.serialized_images import read_compressed_image, read_header, read_image

TEXT = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=9)
HEADERS = st.builds(
    lambda sec, nanosec, frame_id: Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    TEXT,
)


def assert_header(found, header):
    assert (found.sec, found.nanosec, found.frame_id) == (header.stamp.sec, header.stamp.nanosec, header.frame_id)


@given(HEADERS, TEXT, st.binary(max_size=50), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_images_are_what_was_serialized(header, encoding, data, number, flag):
    image = Image(header=header, height=number, width=7, encoding=encoding, is_bigendian=flag, step=number)
    image.data = array.array('B', data)
    found = read_image(serialize_message(image))
    assert_header(found.header, header)
    assert (found.height, found.width, found.encoding) == (number, 7, encoding)
    assert (found.is_bigendian, found.step, found.data.tobytes()) == (flag, number, data)


@given(HEADERS, TEXT, st.binary(max_size=50))
def test_compressed_images_are_what_was_serialized(header, name, data):
    image = CompressedImage(header=header, format=name)
    image.data = array.array('B', data)
    found = read_compressed_image(serialize_message(image))
    assert_header(found.header, header)
    assert (found.format, found.data.tobytes()) == (name, data)


def test_the_other_byte_order():
    store = typestore()
    kinds = store.types
    stamp = kinds['builtin_interfaces/msg/Time'](sec=5, nanosec=7)
    header = kinds['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')
    fields = {'height': 2, 'width': 3, 'encoding': 'mono8', 'is_bigendian': 0, 'step': 3}
    message = kinds['sensor_msgs/msg/Image'](header=header, **fields, data=np.arange(6, dtype=np.uint8))
    found = read_image(bytes(store.serialize_cdr(message, 'sensor_msgs/msg/Image', little_endian=False)))
    assert (found.header.sec, found.header.nanosec, found.header.frame_id) == (5, 7, 'camera')
    assert (found.height, found.width, found.encoding, found.step) == (2, 3, 'mono8', 3)
    assert found.data.tolist() == list(range(6))


def test_every_message_that_breaks_off_is_refused():
    image = Image(header=Header(frame_id='camera'), height=2, width=3, encoding='mono8', step=3)
    image.data = array.array('B', range(6))
    data = serialize_message(image)
    end = len(data) - 6 + 6
    for length in range(end - 3):  # up to three bytes of padding may follow
        with pytest.raises(ImageError, match=r'bytes'):
            read_image(data[:length])
    with pytest.raises(ImageError, match='not UTF-8'):
        read_header(data.replace(b'camera', b'\xff\xfe\xfd\xfc\xfb\xfa'))
