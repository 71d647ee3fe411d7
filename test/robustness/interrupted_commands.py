"""Commands that are killed while they write, and what must be true of their files afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
import torch
import yaml
from helpers.image_messages import image_message
from helpers.rectangles import BLUE, RED, draw
from numpy.typing import NDArray
from safetensors import safe_open

from vis_ros.engines.openvino.compiled_cache import CompiledCache
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import serialize
from vis_ros.recordings.topics import IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.ros.stamps import to_time

FRAMES = 200
_RATE = 10
_CHUNK_S = 1.1  # the results of the last second may not be in the bag


@dataclass(frozen=True)
class InterruptedCommand:
    """A command that is killed.

    prepare: makes the inputs in a folder.
    command: the module that is the program, and its arguments; it runs in that folder and writes into `out` there.
    check: reads what a killed run has left in `out`; returns what it holds, in words, and raises if it cannot be read.
    check_end: the same after the next run.
    imports: modules that take long to import.
    """

    name: str
    prepare: Callable[[Path], None]
    command: tuple[str, ...]
    check: Callable[[Path], str]
    check_end: Callable[[Path], str]
    imports: tuple[str, ...] = ()


def _picture(index: int) -> NDArray[np.uint8]:
    return draw((index % 40, 5, index % 40 + 10, 15, RED), (20, 25, 35, 40, BLUE))


def _prepare_bag(folder: Path) -> None:
    with BagWriter(folder / 'drive') as bag:
        bag.add_topic('/camera/image', IMAGE_TYPE)
        for index in range(FRAMES):
            stamp_ns = 10**18 + index * 10**9 // _RATE
            message = image_message(_picture(index))
            message.header.stamp = to_time(stamp_ns)
            bag.write('/camera/image', stamp_ns, serialize(message, IMAGE_TYPE))


def _prepare_folder(folder: Path) -> None:
    (folder / 'drive').mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(folder / 'drive' / f'{index:04d}.png'), _picture(index))


def _prepare_one_image(folder: Path) -> None:
    (folder / 'drive').mkdir()
    cv2.imwrite(str(folder / 'drive' / '0.png'), _picture(0))


def _prepare_training(folder: Path) -> None:
    model = {
        'name': 'tiny', 'class_names': ['shape'], 'backbone': 'resnet18', 'fpn_channels': 16,
        'proposals_before_nms': 40, 'proposals': 20, 'box_head_channels': 32, 'mask_channels': 16, 'mask_layers': 1,
        'embedding_size': 16,
    }  # fmt: skip
    config = {
        'data': [{'kind': 'scenes'}], 'model': model, 'pretrained': '', 'image_height': 96, 'image_width': 128,
        'input_scales': [0.5], 'pairs': 1, 'workers': 1, 'warm_up_steps': 2, 'log_every': 1, 'checkpoint_every': 1,
        'steps': 6, 'device': 'cpu',
        'validation': {'data': {'kind': 'scenes'}, 'every': 3, 'videos': 1, 'frames': 2, 'score_threshold': 0.0},
    }  # fmt: skip
    (folder / 'train.yaml').write_text(yaml.safe_dump(config))


def check_replay(out: Path) -> str:
    """Whole lines in results.jsonl, and all of them but the last second in the bag; the video plays or is not there."""
    lines = [json.loads(line) for line in _text(out / 'results.jsonl').splitlines()]
    assert [line['index'] for line in lines] == list(range(len(lines)))
    messages = _messages(out / 'bag')
    due = sum(line['stamp'] < lines[-1]['stamp'] - _CHUNK_S for line in lines)
    assert messages >= due, f'{messages} messages of {len(lines)} frames, {due} of which were due'
    for name in ('run.json', 'results.json'):
        if (out / name).exists():
            json.loads((out / name).read_text())
    frames = _video_frames(out / 'overlay.mp4')
    return f'{len(lines)} lines, {messages} messages, video {frames or "absent"}'


def check_replay_end(out: Path) -> str:
    """Everything."""
    found = check_replay(out)
    assert json.loads((out / 'run.json').read_text())['frames'] == FRAMES
    assert found == f'{FRAMES} lines, {FRAMES} messages, video {FRAMES}'
    return found


def check_demo(out: Path) -> str:
    """The bag and the video can be read."""
    if (out / 'metrics.json').exists():
        json.loads((out / 'metrics.json').read_text())
    return f'{_messages(out / "bag")} messages, video {_video_frames(out / "overlay.mp4") or "absent"}'


def check_demo_end(out: Path) -> str:
    """All results."""
    received = json.loads((out / 'metrics.json').read_text())['frames_received']
    assert received > 0 and _video_frames(out / 'overlay.mp4') == received
    return check_demo(out)


def check_training(out: Path) -> str:
    """The checkpoints and the model files can be loaded, and the log has whole lines."""
    step = 0
    for path in out.glob('checkpoint*.pt'):
        with ZipFile(path) as archive:
            assert archive.testzip() is None
        step = max(step, torch.load(path, weights_only=True)['step'])
    for path in out.glob('*.safetensors'):
        with safe_open(path, 'pt') as file:
            for name in file.keys():  # noqa: SIM118  # it is no dict
                file.get_tensor(name)
    rows = [json.loads(line) for line in _text(out / 'losses.jsonl').splitlines() if line.endswith('}')]
    assert step >= len(rows) - 1, f'{len(rows)} steps were logged, the checkpoint is of step {step}'
    return f'checkpoint of step {step}'


def check_training_end(out: Path) -> str:
    """The last step."""
    found = check_training(out)
    assert found == 'checkpoint of step 6' and (out / 'tiny_best.safetensors').exists()
    return found


def check_cache(out: Path) -> str:
    """What has its final name is whole."""
    files = list(out.parent.glob('cache/vis_ros/**/*.openvino'))
    for file in files:
        assert CompiledCache(file.parent).load(file.stem) is not None, f'{file} is damaged'
    return f'{len(files)} networks in the cache'


def check_cache_end(out: Path) -> str:
    """At least one network."""
    assert len((out / 'results.jsonl').read_text().splitlines()) == 1
    found = check_cache(out)
    assert not found.startswith('0')
    return found


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ''


def _messages(bag: Path) -> int:
    """Number of results in a bag up to where it breaks off, 0 if that is before its first chunk."""
    count = 0
    if bag.exists():
        with suppress(BagError):
            reader = BagReader(bag)
            for _ in reader.messages(reader.of_type(INSTANCES_TYPE)):
                count += 1
    return count


def _video_frames(path: Path) -> int:
    """Number of frames in a video, 0 if there is none."""
    if not path.exists():
        return 0
    capture, frames = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        frames += 1
    assert frames, f'{path} cannot be played'
    return frames


_REPLAY = (
    *('helpers.rectangle_program', 'replay', 'drive'),
    *('--out', 'out', '--codec', 'mp4v', '--score-threshold', '0.5'),
)

_IMPORTS = ('helpers.rectangle_program', 'vis_ros.recordings.opening', 'vis_ros.replay.offline.offline_replay')

COMMANDS = (
    InterruptedCommand(
        'replay of a bag', _prepare_bag, (*_REPLAY, '--copy-images'), check_replay, check_replay_end, _IMPORTS
    ),
    InterruptedCommand(
        'replay of a folder', _prepare_folder, (*_REPLAY, '--video'), check_replay, check_replay_end, _IMPORTS
    ),
    InterruptedCommand(
        'demo',
        lambda folder: None,
        ('helpers.demo_program', 'demo', '--out', 'out', '--frames', '30', '--rate', '10'),
        check_demo,
        check_demo_end,
        ('helpers.demo_program', 'vis_ros.demo.demo_report'),
    ),
    InterruptedCommand(
        'train',
        _prepare_training,
        ('helpers.train_program', 'train.yaml', 'out'),
        check_training,
        check_training_end,
        ('helpers.train_program', 'torch.utils.tensorboard'),
    ),
    InterruptedCommand(
        'cache of networks',
        _prepare_one_image,
        ('vis_ros.cli', 'replay', 'drive', '--out', 'out', '--video', '--codec', 'mp4v'),
        check_cache,
        check_cache_end,
        (*_IMPORTS, 'openvino'),
    ),
)
