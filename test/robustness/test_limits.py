"""Small files that would take hours or all memory: each is refused before, in one sentence."""

import json
import sqlite3
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch

from vis_ros.datasets.problems import AnnotationError, read_json
from vis_ros.datasets.segmentation import fault, to_rle
from vis_ros.image_headers import ImageError
from vis_ros.images import decode_file
from vis_ros.listing import listed
from vis_ros.networks.checkpoint_file import read_checkpoint
from vis_ros.networks.model_config import DEMO, ModelConfig
from vis_ros.propagation.systems import config_from_dict
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.decompression import LARGEST_PART, decompress_file
from vis_ros.training.train_config import TrainConfig
from vis_ros.yaml_file import read_yaml

TENS = [f'{name}: &{name} [{", ".join([before] * 10)}]' for before, name in zip(['x', '*a', '*b'], 'abc', strict=True)]
MORE = [f'{name}: &{name} [{", ".join([f"*{before}"] * 10)}]' for before, name in zip('cdefg', 'defgh', strict=True)]
LAUGHS = '\n'.join([*TENS, *MORE])


def test_yaml_with_few_aliases_is_read(tmp_path):
    (tmp_path / 'x.yaml').write_text('\n'.join(TENS) + '\nbase: &base {k: 1}\nown: {<<: *base, l: 2}\n')
    content = read_yaml(tmp_path / 'x.yaml')
    assert content['c'][9][9] == ['x'] * 10 and content['own'] == {'k': 1, 'l': 2}


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        (LAUGHS, 'stands for more than 1000000 values'),
        ('[' * 100 + ']' * 100, 'nested deeper than 50 levels'),
        ('a: &a {b: *a}', '&a contains itself'),
        ('a: [', 'is not a YAML file'),
    ],
)
def test_yaml_has_limits(tmp_path, text, told):
    path = tmp_path / 'x.yaml'
    path.write_text(text)
    for read in (read_yaml, TrainConfig.read):
        with pytest.raises(ValueError, match=told) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_metadata_of_a_bag_have_the_same_limits(tmp_path):
    (tmp_path / 'metadata.yaml').write_text(f'{LAUGHS}\nrosbag2_bagfile_information:\n  relative_file_paths: *h\n')
    with pytest.raises(BagError, match='more than 1000000 values'):
        BagReader(tmp_path)
    names = ''.join(f'  - {number}.mcap\n' for number in range(500))
    (tmp_path / 'metadata.yaml').write_text(f'rosbag2_bagfile_information:\n  relative_file_paths:\n{names}')
    with pytest.raises(FileNotFoundError, match=r'19\.mcap and 480 more, which are missing'):
        BagReader(tmp_path)


def test_a_number_of_thousands_of_digits_names_the_file(tmp_path):
    (tmp_path / 'x.json').write_text('{"height": 1' + '0' * 10_000 + '}')
    with pytest.raises(AnnotationError, match=r'x\.json: is not JSON: Exceeds the limit'):
        read_json(tmp_path / 'x.json')


@pytest.mark.parametrize(
    ('segmentation', 'told'),
    [
        ([[c for i in range(1000) for c in (i % 2 * 8000, i)]], 'outlines of .* more than the limit of 1048576'),
        ([[1, 1, 5, 1, 5, 5]] * 20_000, '20000 polygons have outlines of'),
        ({'size': [8000, 8000], 'counts': '0' * 500_000_000}, 'its length is 500000000'),
        ({'size': [8000, 8000], 'counts': np.zeros(65_000_000, np.uint8)}, 'its length is 65000000'),
    ],
)
def test_outlines_and_run_lengths_have_limits(segmentation, told):
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(fault(segmentation, (8000, 8000)))


def test_many_polygons_are_joined(tmp_path):
    squares = [[float(x), 2.0, x + 2.0, 2.0, x + 2.0, 4.0, float(x), 4.0] for x in range(0, 100, 4)]
    assert fault(squares, (10, 104)) is None
    from vis_ros.datasets.coco_rle import decode

    mask = decode(to_rle(squares, (10, 104)))
    each = sum(decode(to_rle([square], (10, 104))).astype(int) for square in squares)
    assert (mask == (each > 0)).all() and mask.sum() == 25 * 4


def test_more_compressed_pixels_than_a_png_can_have():
    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    pixels = zlib.compress(bytes(1 << 28), 9)
    head = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 8, 8, 2, 0, 0, 0))
    with pytest.raises(ImageError, match='are too many for an image of 8x8'):
        decode_file(head + chunk(b'IDAT', pixels) + chunk(b'IEND', b''))


def test_noise_is_no_bomb(tmp_path):
    import cv2

    for shape, kind in (((64, 48, 3), np.uint8), ((500, 500, 4), np.uint16), ((3, 3), np.uint8)):
        noise = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
        data = cv2.imencode('.png', noise, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1]
        assert decode_file(data).shape[:2] == shape[:2]


@pytest.mark.parametrize(
    'messages',
    [
        'CREATE TABLE messages(id INTEGER, topic_id INTEGER, timestamp INTEGER, data BLOB AS (zeroblob(900000000)))',
        'CREATE VIEW messages AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c',
        'CREATE VIRTUAL TABLE messages USING rtree(id, topic_id, timestamp)',
    ],
)
def test_a_database_whose_messages_are_computed_is_no_bag(tmp_path, messages):
    with sqlite3.connect(tmp_path / 'x.db3') as database:
        database.execute('CREATE TABLE topics(id INTEGER, name TEXT, type TEXT, serialization_format TEXT)')
        database.execute(messages)
    with pytest.raises(BagError, match='without the tables topics and messages'):
        BagReader(tmp_path / 'x.db3')


def test_a_compressed_file_has_a_limit(tmp_path):
    import zstandard

    with zstandard.open(tmp_path / 'x.zstd', 'wb') as file:
        for _ in range(LARGEST_PART // (1 << 24) + 1):
            file.write(bytes(1 << 24))
    with pytest.raises(ValueError, match=f'unpacks to more than {LARGEST_PART} bytes'):
        decompress_file(tmp_path / 'x.zstd', tmp_path / 'x')


def test_a_checkpoint_is_not_compressed(tmp_path):
    torch.save({'state_dict': {'a': torch.zeros(1 << 20)}}, tmp_path / 'stored.pth')
    assert read_checkpoint(tmp_path / 'stored.pth')[0]['a'].shape == (1 << 20,)
    with (
        zipfile.ZipFile(tmp_path / 'stored.pth') as source,
        zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ValueError, match=r'bomb\.pth is no checkpoint of PyTorch: its \d+ bytes unpack to \d+'):
        read_checkpoint(tmp_path / 'bomb.pth')


@pytest.mark.parametrize('field', ['fpn_channels', 'mask_layers', 'input_height', 'proposals', 'roi_align_samples'])
def test_a_model_config_has_limits(field):
    with pytest.raises(ValueError, match=f'{field} is 1000000000, expected at most'):
        DEMO.with_fields(**{field: 10**9})


def test_a_config_that_is_too_deep_or_too_long():
    with pytest.raises(ValueError, match='the model config is not JSON'):
        ModelConfig.from_json('[' * 100_000)
    with pytest.raises(ValueError, match='has 20000 names'):
        DEMO.with_fields(class_names=tuple(map(str, range(20_000))))
    with pytest.raises(ValueError, match='input_width is 1000000000, expected 0 to'):
        config_from_dict({'architecture': 'rgmp', 'name': 'x', 'input_width': 10**9})


def test_names_in_messages():
    assert listed('abc') == 'a, b, c' and listed(range(1000), most=2) == '0, 1 and 998 more'
    assert json.dumps(listed([])) == '""'
