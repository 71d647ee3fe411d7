"""The kinds of files that are damaged: how to make a case, how to read it, and what must not be lost without a word.

Those of models are in `model_kinds`.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from helpers.random_annotations import random_videos
from helpers.rectangles import BLUE, RED, RectangleEngine, draw
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robustness.kind import Kind, LostWithoutAWordError, damaged_file, one_of
from robustness.model_kinds import MODEL_KINDS
from robustness.mutations import changed_value, cut, damage
from vis_ros.datasets.checking import check_annotations
from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.mots import write_mots
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.datasets.youtube_vis_results import result_rows
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.recordings.opening import open_recordings
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.replay.output_folder import make_room
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
_STORE = get_typestore(Stores.LATEST)
_IMAGE = 'sensor_msgs/msg/Image'
_FRAMES = 8


def _picture(number: int) -> np.ndarray:
    image = np.full((48, 64, 3), 60 + number, np.uint8)
    image[10:20, 5 * number : 5 * number + 10] = (0, 0, 255)
    return image


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
    source = one_of(sound, chance)
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
    return damaged_file(one_of(sound, chance), target, chance)


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


# --- configurations and run folders -----------------------------------------------------------------------------------


def _prepare_configs(folder: Path) -> None:
    shutil.copy(ROOT / 'config' / 'train_demo.yaml', folder / 'train_demo.yaml')
    shutil.copy(ROOT / 'config' / 'vis.yaml', folder / 'vis.yaml')


def _make_config(sound: Path, target: Path, chance: random.Random) -> Path:
    source = one_of(sound, chance)
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
    """A replay of blurred frames, and that of the sharp ones, which is its ground truth."""
    codecs, model = ('mp4v',), Model(Settings(), engine_factory=RectangleEngine)
    for name, blur in (('frames', 3), ('sharp', 1)):
        images = folder.parent / name
        images.mkdir()
        for number in range(_FRAMES):
            image = draw((4 + 2 * number, 10, 14 + 2 * number, 20, RED), (50 - number, 30, 60 - number, 40, BLUE))
            cv2.imwrite(str(images / f'{number}.png'), cv2.GaussianBlur(image, (blur, blur), 0))
    replay(open_recordings(folder.parent / 'sharp'), model, folder.parent / 'truth', codecs=codecs)
    replay(open_recordings(folder.parent / 'frames'), model, folder / 'run', codecs=codecs)
    for path in (folder / 'run', folder / 'run' / 'bag'):
        figures, _ = _evaluated(path, folder.parent / 'truth')
        (folder.parent / f'{path.name}.json').write_text(json.dumps(figures))


def _make_run(sound: Path, target: Path, chance: random.Random) -> Path:
    path = target / 'run'
    shutil.copytree(sound / 'run', path)
    victim = path / chance.choice(('results.jsonl', 'results.jsonl', 'run.json', 'bag/bag.mcap', 'bag/metadata.yaml'))
    if victim.suffix in ('.json', '.jsonl') and chance.random() < 0.5:
        lines = victim.read_text().splitlines() if victim.suffix == '.jsonl' else [victim.read_text()]
        values = changed_value([json.loads(line) for line in lines], chance)
        victim.write_text(''.join(json.dumps(value) + '\n' for value in values))
    else:
        victim.write_bytes((cut if chance.random() < 0.3 else damage)(victim.read_bytes(), chance))
    return path if victim.parent == path else victim.parent


def _evaluated(path: Path, truth: Path) -> tuple[dict[str, Any], list[str]]:
    """The figures of results, and what was said about them."""
    results = open_annotations(path)
    found = evaluate(results, open_annotations(truth)).to_json()
    json.dumps(found, allow_nan=False)
    figures = {key: found[key] for key in ('agnostic', 'aware', 'per_class', 'per_video')}
    return json.loads(json.dumps(figures)), results.inferred


def _read_run(path: Path) -> None:
    case = path if path.name == 'run' else path.parent
    bystander = case.parent / 'bystander' / 'results.jsonl'
    bystander.parent.mkdir()
    bystander.touch()
    shutil.copytree(case, case.parent / 'again')
    make_room(case.parent / 'again', [], [])
    if not bystander.exists():
        raise LostWithoutAWordError('a file outside of the folder was deleted')
    found = check_annotations(path)
    if found.problems:
        raise ValueError(str(found.problems[0]))
    figures, told = _evaluated(path, case.parents[1] / 'truth')
    expected = json.loads((case.parents[1] / f'{path.name}.json').read_text())
    if figures != expected and not told:
        different = [key for key in expected if figures.get(key) != expected[key]]
        raise LostWithoutAWordError(f'other figures: {", ".join(different)}')


def _read_bag(path: Path) -> None:
    _read_recording(path)


KINDS = (
    Kind('bags', 300, _prepare_bags, _make_file, _read_bag),
    Kind('labels', 150, _prepare_labels, _make_labels, _read_labels),
    Kind('results', 60, _prepare_results, _make_results, _read_results),
    Kind('images and videos', 120, _prepare_images, _make_file, _read_image_or_video),
    *MODEL_KINDS,
    Kind('configs', 100, _prepare_configs, _make_config, _read_config),
    Kind('run folders', 100, _prepare_runs, _make_run, _read_run),
)
