"""A library of small recordings of rectangles, and how it is replayed in this process."""

from __future__ import annotations

from pathlib import Path

import cv2

from helpers.in_this_process import in_this_process
from helpers.rectangles import BLUE, RED, RectangleEngine, draw
from vis_ros.fleet.library_replay import LibrarySummary, replay_library
from vis_ros.fleet.recording_library import find_units
from vis_ros.fleet.unit_replay import Job, UnitOptions, options_identity
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import serialize
from vis_ros.recordings.plain_messages import plain_header, plain_message
from vis_ros.recordings.topics import IMAGE_TYPE
from vis_ros.recordings.video_writer import VideoWriter
from vis_ros.replay.run_identity import settings_identity
from vis_ros.ros.messages import to_image
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings


def load(settings: Settings) -> Model:
    return Model(settings, engine_factory=RectangleEngine)


def pictures(seed: int, count: int) -> list:
    return [draw((4 + index + seed, 10, 14 + index + seed, 20, RED), (40, 30, 52, 40, BLUE)) for index in range(count)]


def write_bag(path: Path, topics: tuple[str, ...], count: int = 4) -> None:
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, IMAGE_TYPE)
        for index, image in enumerate(pictures(len(topics), count)):
            for topic in topics:
                message = to_image(image, 'bgr8', plain_header(10**9 + index * 10**8, 'camera'), plain_message)
                bag.write(topic, index * 10**8, serialize(message, IMAGE_TYPE))


def write_images(folder: Path, seed: int = 0, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(pictures(seed, count)):
        cv2.imwrite(str(folder / f'{index}.png'), image)


def make_library(root: Path) -> Path:
    """A bag with two cameras, one with one, a video, two folders of images; three that are broken in different ways."""
    write_bag(root / 'day1' / 'drive', ('/front/image', '/rear/image'))
    write_bag(root / 'day2', ('/image',))
    write_images(root / 'frames' / 'a')
    write_images(root / 'frames' / 'b', 5)
    with VideoWriter(root / 'clip.mp4', 10.0, ('mp4v',)) as video:
        for image in pictures(0, 3):
            video.write(image)
    write_images(root / 'unreadable', count=1)
    (root / 'unreadable' / '0.png').write_bytes(b'no picture')
    (root / 'broken.mp4').write_bytes(b'no video at all')
    write_bag(root / 'cut', ('/image',), count=40)
    (file,) = (root / 'cut').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return root


def job(out: Path, **options: object) -> Job:
    settings, chosen = Settings(weights='rectangles'), UnitOptions(codecs=('mp4v',), **options)
    return Job(str(out), settings, chosen, settings_identity(settings, options_identity(chosen, None)), load)


def run(library: Path, wanted: Job, runner=in_this_process, **options: object) -> LibrarySummary:
    return replay_library(find_units(library), wanted, runner, **options)


def results(out: Path) -> dict[str, bytes]:
    files = {path.relative_to(out).as_posix(): path for path in out.rglob('*') if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name != 'run.json'}
