"""The kinds of files that are damaged: how to make a case, how to read it, and what must not be lost without a word."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from helpers.random_annotations import random_videos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from test_annotations_replay_folder import record
from test_annotations_replay_folder import write as write_replay_folder

from robustness.mutations import changed_value, cut, damage
from vis_ros.datasets.checking import check_annotations
from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.mots import write_mots
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.datasets.youtube_vis_results import result_rows
from vis_ros.recordings.opening import open_recordings

ROOT = Path(__file__).resolve().parents[2]
_WEIGHTS = ROOT / 'vis_ros' / 'weights'
_STORE = get_typestore(Stores.LATEST)
_IMAGE = 'sensor_msgs/msg/Image'
_FRAMES = 8


class LostWithoutAWordError(AssertionError):
    """A file was cut, fewer frames were read, and nothing was said."""


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: of the kind.
        cases: number of cases in a full run.
        prepare: makes the sound files in a folder.
        make: damages one of them: (sound files, empty folder, random) -> path of the case.
        read: reads a case. A problem that it reports raises ValueError or OSError.
    """

    name: str
    cases: int
    prepare: Callable[[Path], None]
    make: Callable[[Path, Path, random.Random], Path]
    read: Callable[[Path], None]


def _picture(number: int) -> np.ndarray:
    image = np.full((48, 64, 3), 60 + number, np.uint8)
    image[10:20, 5 * number : 5 * number + 10] = (0, 0, 255)
    return image


def _damaged_file(source: Path, target: Path, chance: random.Random) -> Path:
    """A copy of a file, cut in one of three cases (which its name then says), otherwise damaged."""
    is_cut = chance.random() < 1 / 3
    path = target / f'{"cut" if is_cut else "damaged"}_{source.name}'
    path.write_bytes((cut if is_cut else damage)(source.read_bytes(), chance))
    return path


def _one_of(folder: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(folder.iterdir()))


# --- bags -------------------------------------------------------------------------------------------------------------


def _message(number: int) -> Any:
    stamp = _STORE.types['builtin_interfaces/msg/Time'](100 + number, 0)
    header = _STORE.types['std_msgs/msg/Header'](stamp, 'optical')
    return _STORE.types[_IMAGE](header, 48, 64, 'bgr8', 0, 192, _picture(number).reshape(-1))


def _prepare_bags(folder: Path) -> None:
    for plugin in StoragePlugin:
        for compression in (CompressionMode.NONE, CompressionMode.STORAGE, CompressionMode.FILE):
            if plugin is StoragePlugin.SQLITE3 and compression is CompressionMode.STORAGE:
                continue
            bag = folder.parent / f'bag_{plugin.name}_{compression.name}'
            writer = Writer(bag, version=9, storage_plugin=plugin)
            writer.set_compression(compression, CompressionFormat.ZSTD)
            with writer:
                connection = writer.add_connection('/image', _IMAGE, typestore=_STORE)
                for number in range(_FRAMES):
                    writer.write(connection, number * 10**9, _STORE.serialize_cdr(_message(number), _IMAGE))
            storage = next(file for file in bag.iterdir() if file.name != 'metadata.yaml')
            storage.rename(folder / storage.name.replace('bag_', ''))


def _read_recording(path: Path) -> None:
    recordings = open_recordings(path)
    frames = sum(1 for recording in recordings for _ in recording)
    told = any(each.skipped or each.warnings or each.left_out for each in recordings)
    if frames < _FRAMES and path.name.startswith('cut') and not told and path.suffix not in ('.png', '.jpg', '.bmp'):
        raise LostWithoutAWordError(f'{frames} of {_FRAMES} frames')


# --- labels and results -----------------------------------------------------------------------------------------------


def _prepare_labels(folder: Path) -> None:
    made = random_videos(frames=3, objects=2, disjoint=True, ignored=True, stamps=True, images=True, size=(12, 16))
    write_youtube_vis(made, folder / 'vis')
    write_davis(made, folder / 'davis')
    write_mots(made, folder / 'mots')


def _make_labels(sound: Path, target: Path, chance: random.Random) -> Path:
    source = _one_of(sound, chance)
    path = target / source.name
    shutil.copytree(source, path)
    victim = chance.choice(sorted(file for file in path.rglob('*') if file.is_file()))
    if victim.suffix == '.json' and chance.random() < 0.8:
        victim.write_text(json.dumps(changed_value(json.loads(victim.read_text()), chance)))
    else:
        victim.write_bytes((cut if chance.random() < 0.3 else damage)(victim.read_bytes(), chance))
    return path


def _read_labels(path: Path) -> None:
    found = check_annotations(path)
    if found.problems:
        raise ValueError(str(found.problems[0]))
    if found.videos is None:
        raise AssertionError('neither videos nor problems')


def _prepare_results(folder: Path) -> None:
    made = random_videos(frames=3, objects=2, size=(12, 16))
    (folder / 'results.json').write_text(json.dumps(list(result_rows(made))))
    write_youtube_vis(made, folder.parent / 'truth')


def _make_results(sound: Path, target: Path, chance: random.Random) -> Path:
    rows = json.loads((sound / 'results.json').read_text())
    (target / 'results.json').write_text(json.dumps(changed_value(rows, chance)))
    shutil.copytree(sound.parent / 'truth', target / 'truth')
    return target


def _read_results(path: Path) -> None:
    truth = check_annotations(path / 'truth').videos
    found = check_annotations(path / 'results.json', truth=truth)
    if found.problems:
        raise ValueError(str(found.problems[0]))


# --- images and videos ------------------------------------------------------------------------------------------------


def _prepare_images(folder: Path) -> None:
    for suffix in ('.jpg', '.png', '.bmp', '.webp', '.tif', '.ppm'):
        cv2.imwrite(str(folder / f'image{suffix}'), _picture(3))
    cv2.imwrite(str(folder / 'deep.png'), _picture(3).astype(np.uint16) * 200)
    cv2.imwrite(str(folder / 'progressive.jpg'), _picture(3), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    for name, codec in (('clip.avi', 'MJPG'), ('clip.mp4', 'mp4v')):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
        for number in range(_FRAMES):
            writer.write(_picture(number))
        writer.release()


def _make_file(sound: Path, target: Path, chance: random.Random) -> Path:
    return _damaged_file(_one_of(sound, chance), target, chance)


def _read_image_or_video(path: Path) -> None:
    if path.suffix in ('.avi', '.mp4'):
        _read_recording(path)
        return
    (recording,) = open_recordings(path)
    (frame,) = recording
    if path.name.startswith('cut') and frame.image.shape == (48, 64, 3):
        expected = cv2.imread(str(path.parents[1] / 'sound' / path.name.removeprefix('cut_')))
        if not np.array_equal(frame.image, expected):
            raise LostWithoutAWordError('a cut image has other pixels')


# --- models -----------------------------------------------------------------------------------------------------------


def _prepare_checkpoints(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.networks.model_header import CONFIG_KEY

    state = {f'layer{number}.weight': torch.rand(4, 5) for number in range(3)}
    torch.save({'state_dict': state, 'meta': {'CLASSES': ('a', 'b'), 'epoch': 3}}, folder / 'new.pth')
    torch.save(state, folder / 'old.pth', _use_new_zipfile_serialization=False)
    save_file(state, folder / 'plain.safetensors')
    save_file(state, folder / 'model.safetensors', {CONFIG_KEY: ModelConfig('made', ('a', 'b')).to_json()})


def _make_checkpoint(sound: Path, target: Path, chance: random.Random) -> Path:
    source = _one_of(sound, chance)
    if source.name != 'model.safetensors' or chance.random() < 0.3:
        return _damaged_file(source, target, chance)
    from safetensors.torch import load_file, save_file

    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.networks.model_header import CONFIG_KEY

    values = changed_value(json.loads(ModelConfig('made', ('a', 'b')).to_json()), chance)
    save_file(load_file(source), target / 'model.safetensors', {CONFIG_KEY: json.dumps(values)})
    return target / 'model.safetensors'


def _read_checkpoint(path: Path) -> None:
    from vis_ros.networks.checkpoint_file import read_checkpoint
    from vis_ros.networks.model_header import read_config

    if 'model' in path.name:
        read_config(path)
    else:
        read_checkpoint(path)


def _prepare_graphs(folder: Path) -> None:
    for name in ('demo.mask_rcnn.cpu.onnx', 'demo.safetensors'):
        shutil.copy(_WEIGHTS / name, folder / name)


def _make_graph(sound: Path, target: Path, chance: random.Random) -> Path:
    victim = 'demo.mask_rcnn.cpu.onnx' if chance.random() < 0.7 else 'demo.safetensors'
    for file in sound.iterdir():
        if file.name == victim:
            (target / file.name).write_bytes((cut if chance.random() < 0.3 else damage)(file.read_bytes(), chance))
        else:
            (target / file.name).symlink_to(file)
    return target


def _read_graph(path: Path) -> None:
    from vis_ros.engines.loading import load_engine

    os.environ['XDG_CACHE_HOME'] = str(path / 'cache')
    engine = load_engine(path / 'demo.safetensors', model='mask_rcnn', engine='openvino', input_size=(64, 64))
    engine.warm_up()


# --- configurations and run folders -----------------------------------------------------------------------------------


def _prepare_configs(folder: Path) -> None:
    shutil.copy(ROOT / 'config' / 'train_demo.yaml', folder / 'train_demo.yaml')
    shutil.copy(ROOT / 'config' / 'vis.yaml', folder / 'vis.yaml')


def _make_config(sound: Path, target: Path, chance: random.Random) -> Path:
    source = _one_of(sound, chance)
    path = target / source.name
    if chance.random() < 0.7:
        path.write_text(yaml.safe_dump(changed_value(yaml.safe_load(source.read_text()), chance)))
    else:
        path.write_bytes(damage(source.read_bytes(), chance))
    return path


def _read_config(path: Path) -> None:
    from vis_ros.cli.setting_options import settings_from
    from vis_ros.training.train_config import TrainConfig

    if path.name == 'vis.yaml':
        settings_from(path, {}).check_together()
    else:
        TrainConfig.read(path)


def _prepare_runs(folder: Path) -> None:
    run = {'source': 'drive.mcap', 'class_names': ['dog', 'cat'], 'cameras': {'': ''}, 'frames_of': {'': _FRAMES}}
    write_replay_folder(folder, [record(number)[0] for number in range(_FRAMES)], run)


def _make_run(sound: Path, target: Path, chance: random.Random) -> Path:
    lines = [json.loads(line) for line in (sound / 'results.jsonl').read_text().splitlines()]
    run = json.loads((sound / 'run.json').read_text())
    kind = chance.randrange(4)
    if kind == 0:
        run = changed_value(run, chance)
    elif kind == 1:
        lines = changed_value(lines, chance)
    path = write_replay_folder(target / ('cut_run' if kind == 2 else 'run'), lines, run)
    if kind >= 2:
        file = path / 'results.jsonl'
        file.write_bytes((cut if kind == 2 else damage)(file.read_bytes(), chance))
    return path


def _read_run(path: Path) -> None:
    from vis_ros.claim import claim
    from vis_ros.replay.output_folder import make_room

    found = check_annotations(path)
    bystander = path.parent / 'bystander' / 'results.jsonl'
    bystander.parent.mkdir()
    bystander.touch()
    shutil.copytree(path, path.parent / 'again')
    (path.parent / 'again' / '.vis_ros').touch()
    claim(path.parent / 'again')
    make_room(path.parent / 'again', [], [])
    if not bystander.exists():
        raise LostWithoutAWordError('a file outside of the folder was deleted')
    if found.problems:
        raise ValueError(str(found.problems[0]))
    assert found.videos is not None
    if path.name.startswith('cut') and sum(map(len, found.videos.videos)) < _FRAMES:
        raise LostWithoutAWordError(f'{sum(map(len, found.videos.videos))} of {_FRAMES} lines')


def _read_bag(path: Path) -> None:
    _read_recording(path)


KINDS = (
    Kind('bags', 300, _prepare_bags, _make_file, _read_bag),
    Kind('labels', 150, _prepare_labels, _make_labels, _read_labels),
    Kind('results', 60, _prepare_results, _make_results, _read_results),
    Kind('images and videos', 120, _prepare_images, _make_file, _read_image_or_video),
    Kind('checkpoints', 60, _prepare_checkpoints, _make_checkpoint, _read_checkpoint),
    Kind('graphs and weights', 60, _prepare_graphs, _make_graph, _read_graph),
    Kind('configs', 100, _prepare_configs, _make_config, _read_config),
    Kind('run folders', 100, _prepare_runs, _make_run, _read_run),
)
