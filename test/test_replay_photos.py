"""Replay of photos: each for itself, its files, and how a folder of photos is told from a video."""

import json
import shutil

import cv2
import numpy as np
import pytest
from helpers.rectangles import BLUE, RED, RectangleEngine, draw

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.photo_guess import looks_like_photos
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings


def written(folder, names, size=(48, 64)):
    folder.mkdir(parents=True)
    for name in names:
        image = cv2.resize(draw((4, 10, 14, 20, RED), (50, 30, 60, 40, BLUE)), size[::-1])
        cv2.imwrite(str(folder / name), image)
    return folder


def run(folder, out, photos, **settings):
    model = Model(Settings(weights='rectangles', **settings), engine_factory=RectangleEngine)
    recording = open_recording(folder, photos=photos)
    replay([recording], model, out, codecs=('mp4v',))
    return [json.loads(line) for line in (out / 'results.jsonl').read_text().splitlines()]


def test_no_track_id_goes_from_photo_to_photo(tmp_path):
    folder = written(tmp_path / 'photos', ['a.png', 'b.png', 'c.png'])
    records = run(folder, tmp_path / 'out', True)
    assert [record['name'] for record in records] == ['a.png', 'b.png', 'c.png']
    assert len({record['epoch'] for record in records}) == 3, 'an id is the same one only in the same epoch'
    assert [[each['track_id'] for each in record['instances']] for record in records] == [[1, 2]] * 3
    found = open_annotations(tmp_path / 'out')
    ids = [set(frame.track_ids.tolist()) for frame in found.videos[0]]
    assert not set.intersection(*ids) and found.settings['photos'] is True
    as_video = run(folder, tmp_path / 'video', False)
    assert [[each['track_id'] for each in record['instances']] for record in as_video] == [[1, 2]] * 3
    assert {record['epoch'] for record in as_video} == {0}


def test_photos_get_overlays_in_place_of_a_video_and_a_new_run_replaces_them(tmp_path):
    folder = written(tmp_path / 'photos', ['a.png', 'b.png'])
    run(folder, tmp_path / 'out', True)
    names = {path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*.*')}
    assert {'overlays/a.png.jpg', 'overlays/b.png.jpg', 'contact_sheet.png', 'results.jsonl', 'run.json'} <= names
    assert 'overlay.mp4' not in names
    (folder / 'b.png').unlink()
    run(folder, tmp_path / 'out', True)
    assert [path.name for path in (tmp_path / 'out' / 'overlays').glob('*.jpg')] == ['a.png.jpg']


def test_only_a_folder_of_images_can_be_photos(tmp_path):
    folder = written(tmp_path / 'photos', ['a.png'])
    (tmp_path / 'film.mp4').write_bytes(b'')
    with pytest.raises(ValueError, match='no folder of images: leave --photos out'):
        open_recording(tmp_path / 'film.mp4', photos=True)
    model = Model(Settings(weights='rectangles'), engine_factory=RectangleEngine)
    model._propagation = object()
    with pytest.raises(ValueError, match='follows objects from image to image'):
        model.photo_tracker()
    assert not open_recording(folder).photos, 'the library does not guess'


VIDEOS = {
    'numbers': [f'{number:05d}.png' for number in range(12)],
    'every third': [f'frame{number}.png' for number in range(0, 36, 3)],
    'stamps': [f'{1_700_000_000_000 + 33 * number + number % 5}.png' for number in range(12)],
    'a gap': [f'{number:05d}.png' for number in (*range(6), *range(600, 606))],
    'few': ['kitchen.png', 'garden.png', 'street.png'],
}
PHOTOS = {
    'names': [
        'kitchen.png',
        'garden.png',
        'street.png',
        'dog.png',
        'aunt.png',
        'x1.png',
        'sea.png',
        'tree.png',
        'a.png',
    ],
    'numbers of a collection': [f'{number:012d}.png' for number in np.random.default_rng(0).integers(0, 581_929, 20)],
}


@pytest.mark.parametrize('kind', VIDEOS)
def test_frames_of_a_video_are_none(tmp_path, kind):
    recording = open_recording(written(tmp_path / 'images', VIDEOS[kind]), photos=None)
    assert not recording.photos and recording.inferred == []


@pytest.mark.parametrize('kind', PHOTOS)
def test_names_of_photos(tmp_path, kind):
    recording = open_recording(written(tmp_path / 'images', PHOTOS[kind]), photos=None)
    assert (
        recording.photos and recording.inferred[0].startswith('photos, because') and '--video' in recording.inferred[0]
    )


def test_images_of_many_sizes_are_photos_and_one_other_size_is_not(tmp_path):
    folder = written(tmp_path / 'images', VIDEOS['numbers'])
    written(tmp_path / 'other', ['00000.png'], (40, 64))
    shutil.copy(tmp_path / 'other' / '00000.png', folder / '00003.png')
    files = sorted(folder.glob('*.png'))
    assert looks_like_photos(files) == ''
    for number in (1, 5, 6, 8):
        shutil.copy(tmp_path / 'other' / '00000.png', folder / f'{number:05d}.png')
    assert looks_like_photos(files) == 'they differ in size'
