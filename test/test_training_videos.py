"""Annotated videos as training pairs, from good and bad files that the tests write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.youtube_vis_files import SIZE, square, write_youtube_vis
from rich.console import Console

from vis_ros.datasets.coco_rle import encode
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.segmentation import compressed
from vis_ros.training.labeled_videos import LabeledVideos, fit_size
from vis_ros.training.mixture import Mixture
from vis_ros.training.train_config import DataSource, TrainConfig
from vis_ros.training.training_data import (
    RelabeledVideos,
    build_mixture,
    model_classes,
    open_training_source,
    open_training_sources,
)


def read(path: Path, size: tuple[int, int] = SIZE, **options: Any) -> LabeledVideos:
    return LabeledVideos(open_annotations(path), size, **options)


def by_name(videos: LabeledVideos) -> dict[int, Any]:
    """Number of objects -> video."""
    return {len(video.object_ids): video for video in videos.videos}


def test_frames_are_those_of_the_file(tmp_path: Path) -> None:
    videos = read(write_youtube_vis(tmp_path))
    assert videos.class_names == ('cat', 'dog') and not videos.problems
    video = by_name(videos)[2]
    assert video.length == 3
    for time, classes in enumerate([[1], [1, 0], [1, 0]]):
        frame = video.frame(time)
        assert frame.class_ids.tolist() == classes
        assert frame.object_ids.tolist() == [1, 2][: len(classes)]
        assert frame.boxes()[0].tolist() == [5 + 10 * time, 10, 25 + 10 * time, 30]
        assert frame.image[frame.masks[0]].mean() > 190
        assert frame.ignored is None and not frame.pasted.any()


def test_the_two_frames_of_a_pair_are_of_one_video(tmp_path: Path) -> None:
    mixture = Mixture([(1.0, read(write_youtube_vis(tmp_path)))], seed=0)
    seen = set()
    for index in range(60):
        key, reference = mixture.pair(index)
        same = np.intersect1d(key.object_ids, reference.object_ids)
        assert 1 in same  # the dog is in every frame
        seen.add((len(key), len(reference)))
    assert seen == {(1, 1), (1, 2), (2, 1), (2, 2)}


@pytest.mark.parametrize(
    ('size', 'limits', 'expected'),
    [
        ((720, 1280), (360, 640), (640, 360)),
        ((1280, 720), (360, 640), (360, 640)),
        ((480, 640), (360, 640), (480, 360)),
        ((100, 1000), (360, 640), (640, 64)),
        ((60, 80), (120, 160), (160, 120)),
    ],
)
def test_images_are_resized_as_at_inference(
    size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    from vis_ros.engines.torch.torch_engine import preprocess
    from vis_ros.networks.model_config import DEMO

    assert fit_size(size, limits) == expected
    config = DEMO.with_fields(input_height=limits[0], input_width=limits[1])
    assert tuple(preprocess(np.zeros((*size, 3), np.uint8), config)[0].shape[:0:-1]) == expected


def test_frames_are_resized_with_their_masks(tmp_path: Path) -> None:
    video = by_name(read(write_youtube_vis(tmp_path), size=(30, 40)))[2]
    frame = video.frame(1)
    assert frame.image.shape == (30, 40, 3)
    assert frame.boxes()[0].tolist() == pytest.approx([7.5, 5, 17.5, 15], abs=0.5)
    assert frame.image[frame.masks[0]].mean() > 180


def test_crowds_are_ignored(tmp_path: Path) -> None:
    path = write_youtube_vis(tmp_path)
    content = json.loads(path.read_text())
    content['annotations'][2]['iscrowd'] = 1
    path.write_text(json.dumps(content))
    videos = read(path)
    frames = [video.frame(1) for video in videos.videos]
    (crowd,) = [frame.ignored for frame in frames if frame.ignored is not None]
    expected = np.zeros(SIZE, bool)
    expected[10:30, 50:70] = True
    np.testing.assert_array_equal(crowd, expected)
    assert [len(frame) for frame in frames] == [1, 1]


def write_davis(folder: Path) -> Path:
    for kind in ('JPEGImages', 'Annotations'):
        (folder / kind / 'cows').mkdir(parents=True)
    for time in range(4):
        mask = np.zeros(SIZE, np.uint8)
        mask[10:30, 5 + 10 * time : 25 + 10 * time] = 255 if time != 2 else 0
        image = np.full((*SIZE, 3), 20, np.uint8)
        image[mask > 0] = 200
        cv2.imwrite(str(folder / 'JPEGImages' / 'cows' / f'{time:05d}.jpg'), image)
        cv2.imwrite(str(folder / 'Annotations' / 'cows' / f'{time:05d}.png'), mask)
    return folder


def test_in_davis_only_annotated_objects_count(tmp_path: Path) -> None:
    videos = read(write_davis(tmp_path), object_class='animal')
    (video,) = videos.videos
    assert video.length == 3 and videos.class_names == ('animal',)
    for time in range(3):
        frame = video.frame(time)
        assert frame.class_ids.tolist() == [0]
        np.testing.assert_array_equal(frame.ignored, ~frame.masks[0])
    known = read(tmp_path, object_class={'cows': 'cow'}, exhaustive=True)
    assert known.class_names == ('cow',) and known.videos[0].frame(0).ignored is None


def test_mots_text(tmp_path: Path) -> None:
    """Car 1 in both frames, an ignored region in the second."""
    lines = []
    (tmp_path / 'instances_txt').mkdir()
    (tmp_path / 'images' / '0002').mkdir(parents=True)
    for time in range(2):
        car, region = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
        car[10:30, 5 + 10 * time : 25 + 10 * time] = 1
        region[40:50, 60:70] = 1
        lines.append(f'{time} 1001 1 60 80 {encode(car)["counts"].decode()}')
        if time:
            lines.append(f'{time} 10000 10 60 80 {encode(region)["counts"].decode()}')
        cv2.imwrite(str(tmp_path / 'images' / '0002' / f'{time:06d}.png'), np.repeat(car[..., None] * 200, 3, 2))
    (tmp_path / 'instances_txt' / '0002.txt').write_text('\n'.join(lines) + '\n')
    videos = read(tmp_path)
    assert videos.class_names == ('car', 'pedestrian') and not videos.problems
    first, second = (videos.videos[0].frame(time) for time in (0, 1))
    assert first.boxes().tolist() == [[5, 10, 25, 30]] and second.boxes().tolist() == [[15, 10, 35, 30]]
    assert first.object_ids.tolist() == second.object_ids.tolist() == [1] and first.class_ids.tolist() == [0]
    assert first.ignored is None and second.ignored is not None
    np.testing.assert_array_equal(second.ignored, region > 0)
    assert second.image[second.masks[0]].min() == 200


def test_a_format_without_class_labels_needs_object_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'object_class.*cows'):
        read(write_davis(tmp_path))
    with pytest.raises(ValueError, match='has its own class labels'):
        read(write_youtube_vis(tmp_path / 'y'), object_class='dog')


def test_some_videos_can_be_chosen(tmp_path: Path) -> None:
    path = write_youtube_vis(tmp_path)
    assert len(read(path, only=['v2']).videos) == 1
    with pytest.raises(ValueError, match="no video 'v3'"):
        read(path, only=['v2', 'v3'])


# --- bad data ---------------------------------------------------------------------------------------------------------


def change(path: Path, fault: str) -> None:
    content = json.loads(path.read_text())
    dog, _, cat = content['annotations']
    if fault == 'outside':
        dog['segmentations'][1] = square(500)
    elif fault == 'category':
        dog['category_id'] = 99
    elif fault == 'duplicate':
        cat['id'] = dog['id']
    elif fault == 'video':
        dog['video_id'] = 12
    elif fault == 'length':
        dog['segmentations'].pop()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        ('outside', r'annotations\[0\], id 1, segmentations\[1\].*\(500, 10\) outside the image'),
        ('category', r"annotations\[0\].*'category_id' is 99"),
        ('duplicate', r'annotations\[2\].*the id 1 is already used'),
        ('video', r"annotations\[0\].*'video_id' is 12"),
        ('length', r'annotations\[0\].*2 entries.*3 frames'),
    ],
)
def test_a_bad_record_stops_before_the_first_step(tmp_path: Path, fault: str, message: str) -> None:
    path = write_youtube_vis(tmp_path)
    change(path, fault)
    config = TrainConfig.from_dict({'data': [{'kind': 'videos', 'annotations': str(path)}]})
    with pytest.raises(ValueError, match=message):
        open_training_sources(config, Console(quiet=True))


def test_bad_images_and_masks_are_listed_and_left_out(tmp_path: Path) -> None:
    path = write_youtube_vis(tmp_path)
    content = json.loads(path.read_text())
    empty = compressed(encode(np.zeros(SIZE, np.uint8)))
    content['annotations'][2]['segmentations'][1] = empty | {'counts': empty['counts']}
    path.write_text(json.dumps(content))
    pictures = tmp_path / 'JPEGImages'
    (pictures / 'v1' / '0.jpg').unlink()
    (pictures / 'v1' / '1.jpg').write_bytes(b'not a picture')
    cv2.imwrite(str(pictures / 'v2' / '2.jpg'), np.zeros((10, 10, 3), np.uint8))
    videos = read(path)
    assert {kind: len(where) for kind, where in videos.problems.items()} == {
        'frame without an image': 1,
        'image that cannot be decoded': 1,
        'image of another size than its masks': 1,
        'empty mask': 1,
    }
    assert sorted(video.length for video in videos.videos) == [1, 2]
    report = videos.report()
    assert '2 videos, 3 frames' in report and '1 x frame without an image: v1 frame 0.jpg' in report
    assert 'v2 frame 1 object 9' in report
    for video in videos.videos:
        assert all(len(video.frame(time)) == 1 for time in range(video.length))


def test_videos_without_any_image_are_rejected(tmp_path: Path) -> None:
    path = write_youtube_vis(tmp_path)
    for picture in (tmp_path / 'JPEGImages').glob('*/*.jpg'):
        picture.unlink()
    with pytest.raises(ValueError, match='6 x frame without an image'):
        read(path)


# --- classes ----------------------------------------------------------------------------------------------------------


def sources(tmp_path: Path, **values: Any) -> tuple[TrainConfig, list[Any]]:
    path = write_youtube_vis(tmp_path / 'videos')
    data = [{'kind': 'scenes'}, {'kind': 'videos', 'annotations': str(path), 'weight': 3}]
    config = TrainConfig.from_dict({'data': data, **values})
    return config, open_training_sources(config, Console(quiet=True))


def test_classes_are_merged_by_name(tmp_path: Path) -> None:
    config, opened = sources(tmp_path)
    names, remark = model_classes(config, opened)
    assert names == ('shape', 'cat', 'dog') and not remark
    frame = RelabeledVideos(opened[1], names).video(0).frame(1)
    assert names[frame.class_ids[0]] == 'dog'
    config = TrainConfig.from_dict({'data': [{'kind': 'scenes'}], 'model': {'class_names': ['dog', 'shape', 'cat']}})
    names, _ = model_classes(config, opened)
    assert names == ('dog', 'shape', 'cat')
    found = {
        names[number]
        for index in range(12)
        for number in build_mixture(opened, TrainConfig.from_dict(
            {'data': [{'kind': 'scenes'}, {'kind': 'scenes'}], 'image_height': 96, 'image_width': 128}
        ), names).pair(index)[0].class_ids
    }  # fmt: skip
    assert {'shape', 'dog'} <= found


def test_listed_classes_must_contain_those_of_the_data(tmp_path: Path) -> None:
    config, opened = sources(tmp_path, model={'class_names': ['shape', 'dogs']})
    with pytest.raises(ValueError, match=r"'cat', 'dog' \(they have 'dogs'\)"):
        model_classes(config, opened)


def test_weights_keep_their_classes_if_they_have_all_of_the_data(tmp_path: Path) -> None:
    path = write_youtube_vis(tmp_path)
    content = json.loads(path.read_text())
    for known in (True, False):
        content['categories'][1]['name'] = 'cat' if known else 'unicorn'
        content['categories'][0]['name'] = 'person'
        path.write_text(json.dumps(content))
        config = TrainConfig.from_dict({'data': [{'kind': 'videos', 'annotations': str(path)}], 'weights': 'demo'})
        names, remark = model_classes(config, open_training_sources(config, Console(quiet=True)))
        if known:
            assert names == config.model.class_names and not remark
        else:
            assert names == ('person', 'unicorn') and "do not have 'unicorn'" in remark


@pytest.mark.parametrize('year', ['2019', '2021'])
def test_the_official_class_lists_fit_only_their_own_weights(tmp_path: Path, year: str) -> None:
    """The two lists differ in order and content: the same name is the same class, and missing classes are named."""
    from vis_ros.networks.checkpoint_layouts import YOUTUBE_VIS

    names = YOUTUBE_VIS[year]
    other = YOUTUBE_VIS['2021' if year == '2019' else '2019']
    path = write_youtube_vis(
        tmp_path,
        categories=[{'id': number, 'name': name} for number, name in enumerate(names, start=1)],
        annotations=[
            {'id': 1, 'video_id': 1, 'category_id': 7, 'segmentations': [square(5), None, None]},
        ],
    )
    opened = open_training_source(DataSource('videos', annotations=str(path)), SIZE, {}, Console(quiet=True))
    assert opened.class_names == names
    base = TrainConfig.from_dict({'data': [{'kind': 'scenes'}], 'weights': 'demo'})
    for of_weights in (names, other):
        config = TrainConfig(base.data, weights='demo', model=base.model.with_fields(class_names=of_weights))
        found, remark = model_classes(config, [opened])
        assert found == names
        assert bool(remark) == (of_weights is other)
        if of_weights is other:
            assert all(repr(name) in remark for name in set(names) - set(other))
    frame = RelabeledVideos(opened, names).video(0).frame(0)
    assert names[frame.class_ids[0]] == names[6]
