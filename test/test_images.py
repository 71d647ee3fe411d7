"""Image conversion against per-pixel formulas, hand-padded rows and files written by another library."""

import io
import struct
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from vis_ros.images import IMAGE_ENCODINGS, ImageError, decode_compressed, decode_depth, decode_image

GENERATOR = np.random.default_rng(7)


def picture(height=6, width=8):
    return GENERATOR.integers(0, 256, (height, width, 3), np.uint8)


def padded(rows, padding):
    """Rows of bytes, each followed by `padding` bytes of noise: what a driver with aligned lines sends."""
    noise = GENERATOR.integers(0, 256, (len(rows), padding), np.uint8)
    return np.concatenate([rows.reshape(len(rows), -1), noise], 1).tobytes()


def message(encoding, height, width, step, is_bigendian, data):
    """The fields of a `sensor_msgs/Image` that decoding takes."""
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=step, is_bigendian=is_bigendian, data=data
    )


def decode(encoding, height, width, rows, padding=0, is_bigendian=False):
    step = rows.reshape(len(rows), -1).shape[1] + padding
    return decode_image(message(encoding, height, width, step, is_bigendian, array('B', padded(rows, padding))))


@pytest.mark.parametrize('padding', [0, 1, 5])
@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('bgr8', [0, 1, 2]), ('8UC3', [0, 1, 2]), ('rgb8', [2, 1, 0]), ('bgra8', [0, 1, 2, 0]), ('rgba8', [2, 1, 0, 1])],
)
def test_channel_orders(encoding, order, padding):
    bgr = picture()
    image = decode(encoding, 6, 8, bgr[:, :, order], padding)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, bgr)


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_gray_fills_three_channels(encoding, padding):
    gray = picture()[:, :, 0]
    np.testing.assert_array_equal(decode(encoding, 6, 8, gray, padding), np.dstack([gray] * 3))


@pytest.mark.parametrize('padding', [0, 1, 4])
@pytest.mark.parametrize('is_bigendian', [False, True])
def test_mono16_honours_byte_order_and_scale(is_bigendian, padding):
    values = np.array([[0, 1, 255, 256], [257, 25700, 65534, 65535], [128, 129, 385, 386]])
    letter = '>H' if is_bigendian else '<H'
    rows = np.array([list(b''.join(struct.pack(letter, v) for v in row)) for row in values], np.uint8)
    image = decode('mono16', 3, 4, rows, padding, is_bigendian)
    np.testing.assert_array_equal(image, np.dstack([np.round(values / 257).astype(np.uint8)] * 3))
    assert image[1, 3, 0] == 255 and image[0, 0, 0] == 0


# Channel (0 blue, 1 green, 2 red) of the pixels (0, 0) (0, 1) (1, 0) (1, 1), read off the name of the pattern.
BAYER = {name: ['bgr'.index(c) for c in name] for name in ('rggb', 'bggr', 'gbrg', 'grbg')}


def mosaic(bgr, pattern):
    channels = np.tile(np.array(BAYER[pattern]).reshape(2, 2), (bgr.shape[0] // 2, bgr.shape[1] // 2))
    return np.take_along_axis(bgr, channels[:, :, None], 2)[:, :, 0]


@pytest.mark.parametrize('padding', [0, 2])
@pytest.mark.parametrize('pattern', BAYER)
def test_bayer_of_a_constant_color(pattern, padding):
    bgr = np.full((6, 8, 3), (10, 120, 250), np.uint8)
    image = decode(f'bayer_{pattern}8', 6, 8, mosaic(bgr, pattern), padding)
    np.testing.assert_array_equal(image, bgr)


@pytest.mark.parametrize('pattern', BAYER)
def test_bayer_keeps_the_measured_channel_of_every_inner_pixel(pattern):
    bgr = picture(8, 8)
    raw = mosaic(bgr, pattern)
    image = decode(f'bayer_{pattern}8', 8, 8, raw)
    np.testing.assert_array_equal(mosaic(image, pattern)[1:-1, 1:-1], raw[1:-1, 1:-1])


def bt601(y, u, v):
    """ITU-R BT.601 limited range to BGR, one pixel."""
    y, u, v = 255 / 219 * (y - 16), u - 128, v - 128
    red = y + 1.402 * 255 / 224 * v
    green = y - (0.344136 * u + 0.714136 * v) * 255 / 224
    blue = y + 1.772 * 255 / 224 * u
    return np.clip([blue, green, red], 0, 255)


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize(
    ('encoding', 'layout'), [('yuv422', 'uyvY'), ('uyvy', 'uyvY'), ('yuv422_yuy2', 'yuYv'), ('yuyv', 'yuYv')]
)
def test_yuv422_against_the_formula(encoding, layout, padding):
    samples = {c: GENERATOR.integers(16, 236, (4, 3)) for c in 'yYuv'}
    rows = np.stack([samples[c] for c in layout], 2).astype(np.uint8)
    expected = np.zeros((4, 6, 3))
    for row in range(4):
        for pair in range(3):
            u, v = samples['u'][row, pair], samples['v'][row, pair]
            expected[row, 2 * pair] = bt601(samples['y'][row, pair], u, v)
            expected[row, 2 * pair + 1] = bt601(samples['Y'][row, pair], u, v)
    np.testing.assert_allclose(decode(encoding, 4, 6, rows, padding), expected, atol=2)


@pytest.mark.parametrize('padding', [0, 2])
@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_nv_against_the_formula(encoding, padding):
    y = GENERATOR.integers(16, 236, (4, 6))
    u, v = GENERATOR.integers(16, 240, (2, 2, 3))
    color = np.stack([u, v] if encoding == 'nv12' else [v, u], 2).reshape(2, 6)
    rows = np.concatenate([y, color]).astype(np.uint8)
    expected = [[bt601(y[r, c], u[r // 2, c // 2], v[r // 2, c // 2]) for c in range(6)] for r in range(4)]
    np.testing.assert_allclose(decode(encoding, 4, 6, rows, padding), expected, atol=2)


def test_unpadded_bgr8_is_not_copied():
    data = array('B', picture().tobytes())
    image = decode_image(message('bgr8', 6, 8, 24, False, data))
    data[0] ^= 0xFF
    assert image[0, 0, 0] == data[0]


@pytest.mark.parametrize('encoding', IMAGE_ENCODINGS)
@pytest.mark.parametrize('kind', [bytes, bytearray, lambda b: array('B', b), lambda b: np.frombuffer(b, np.uint8)])
def test_every_encoding_from_every_buffer(encoding, kind):
    data = kind(bytes(4 * 8 * 4 * 2))
    assert decode_image(message(encoding, 4, 8, 32, False, data)).shape == (4, 8, 3)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (('16SC7', 4, 4, 100, False, bytes(400)), "'16SC7'"),
        (('', 4, 4, 100, False, bytes(400)), "''"),
        (('bgr8', 4, 4, 11, False, bytes(400)), 'step 11 is smaller.*12 bytes'),
        (('mono16', 4, 4, 7, False, bytes(400)), 'step 7 is smaller.*8 bytes'),
        (('bgr8', 4, 4, 12, False, bytes(47)), '47 bytes.*48 bytes'),
        (('bgr8', 4, 4, 16, False, bytes(60)), '60 bytes.*64 bytes'),
        (('nv12', 4, 4, 4, False, bytes(16)), '16 bytes.*6 rows.*24 bytes'),
        (('bgr8', 4, 4, 12, False, b''), '0 bytes'),
        (('bgr8', 0, 0, 0, False, b''), '0x0'),
        (('bgr8', 0, 4, 12, False, b''), '4x0'),
        (('bgr8', 4, 0, 0, False, b''), '0x4'),
        (('yuv422', 4, 5, 10, False, bytes(400)), '5x4.*yuv422'),
        (('nv21', 5, 4, 4, False, bytes(400)), '4x5.*nv21'),
        (('bayer_rggb8', 2, 8, 8, False, bytes(16)), '8x2.*bayer_rggb8'),
    ],
)
def test_a_bad_image_is_an_error_that_names_the_value(arguments, named):
    with pytest.raises(ImageError, match=named):
        decode_image(message(*arguments))


def smooth_picture(height=48, width=64):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([2 * columns, 4 * rows, 200 - rows - columns], 2).astype(np.uint8)


def file_of(bgr, kind, **options):
    stream = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(bgr[:, :, ::-1])).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize('format', ['png', 'bgr8; png compressed bgr8', ''])
def test_png_written_by_another_library(format):
    bgr = smooth_picture()
    np.testing.assert_array_equal(decode_compressed(format, array('B', file_of(bgr, 'PNG'))), bgr)


@pytest.mark.parametrize('padding', [b'', b'\0' * 2000, b'\r\n'])
def test_jpeg_written_by_another_library(padding):
    bgr = smooth_picture()
    image = decode_compressed('rgb8; jpeg compressed bgr8', file_of(bgr, 'JPEG', quality=95, subsampling=0) + padding)
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image.astype(int), bgr, atol=8)


def test_gray_and_16_bit_files_become_bgr():
    stream = io.BytesIO()
    PillowImage.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(stream, 'PNG')
    np.testing.assert_array_equal(decode_compressed('mono16; png compressed', stream.getvalue())[0, :, 1], [0, 1, 255])


def test_swapped_channels_are_put_right():
    bgr = smooth_picture()
    image = decode_compressed('rgb8; png compressed rgb8', file_of(bgr[:, :, ::-1], 'PNG'))
    np.testing.assert_array_equal(image, bgr)


def test_exif_orientation_is_ignored():
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert decode_compressed('jpeg', file_of(smooth_picture(), 'JPEG', exif=exif)).shape == (48, 64, 3)


def cut(share, kind):
    data = file_of(smooth_picture(), kind)
    return data[: int(len(data) * share)]


@pytest.mark.parametrize(
    ('format', 'data', 'named'),
    [
        ('jpeg', b'', "'jpeg'.*0 bytes.*nothing"),
        ('jpeg', b'hello world', "'jpeg'.*11 bytes.*68 65 6c 6c"),
        ('h264', b'\0\0\0\1\x67', "'h264'"),
        ('jpeg', cut(0.5, 'JPEG'), "corrupt JPEG.*'jpeg'"),
        ('jpeg', cut(0.99, 'JPEG'), "corrupt JPEG.*'jpeg'"),
        ('jpeg', b'\xff\xd8\xff\xd9', "corrupt JPEG.*4 bytes.*'jpeg'"),
        ('png', cut(0.5, 'PNG'), "corrupt PNG.*'png'"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_format(format, data, named):
    with pytest.raises(ImageError, match=named):
        decode_compressed(format, data)


# --- depth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize(('encoding', 'kind'), [('16UC1', 'H'), ('mono16', 'H'), ('32FC1', 'f')])
def test_depth_is_read_number_by_number(encoding: str, kind: str, padding: int, is_bigendian: bool) -> None:
    height, width = 3, 5
    numbers = [[257 * row + 19 * column + 1 for column in range(width)] for row in range(height)]
    order = '>' if is_bigendian else '<'
    data = b''.join(struct.pack(f'{order}{width}{kind}', *row) + b'\xff' * padding for row in numbers)
    step = struct.calcsize(f'{order}{width}{kind}') + padding
    depth = decode_depth(message(encoding, height, width, step, is_bigendian, data))
    assert depth.tolist() == numbers
    assert depth.dtype == {'H': np.uint16, 'f': np.float32}[kind] and depth.dtype.isnative


@pytest.mark.parametrize(
    ('values', 'told'),
    [
        (('rgb8', 2, 2, 6, b'0' * 12), "'rgb8' is not supported; supported are 16UC1, mono16, 32FC1"),
        (('16UC1', 0, 2, 4, b''), 'no pixels'),
        (('32FC1', 2, 2, 7, b'0' * 16), 'step 7 is smaller'),
        (('16UC1', 2, 2, 4, b'0' * 7), 'data has 7 bytes'),
    ],
)
def test_depth_that_cannot_be_read(values: tuple[str, int, int, int, bytes], told: str) -> None:
    encoding, height, width, step, data = values
    with pytest.raises(ImageError, match=told):
        decode_depth(message(encoding, height, width, step, False, data))


@pytest.mark.parametrize(('side', 'kind'), [(20000, '.jpg'), (32000, '.jpg'), (60000, '.png'), (8193, '.png')])
def test_a_header_that_claims_a_huge_image_is_refused_before_decoding(side, kind):
    data = bytearray(cv2.imencode(kind, np.zeros((64, 100, 3), np.uint8))[1].tobytes())
    if kind == '.jpg':
        start = data.index(b'\xff\xc0') + 5
        data[start : start + 4] = side.to_bytes(2, 'big') * 2
    else:
        data[16:24] = side.to_bytes(4, 'big') * 2
    with pytest.raises(ImageError, match='pixels'):
        decode_compressed('', bytes(data))
