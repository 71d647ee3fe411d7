"""Sources of training data that annotate only some objects: class mappings, ignored boxes and crops."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_files import annotation, box_polygon, write_dataset
from helpers.youtube_vis_files import write_youtube_vis
from rich.console import Console

from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composites import CompositeConfig, CompositeVideos
from vis_ros.training.train_config import DataSource
from vis_ros.training.training_data import TrainingSource, class_names, open_training_source

SIZE = (60, 80)
CLASSES = {'person': ['person'], 'pet': ['cat', 'dog'], 'object': []}


def two_images(folder: Path) -> Path:
    annotations = [annotation(1, 7, 18, box_polygon(10, 8, 40, 38)), annotation(2, 9, 44, box_polygon(5, 5, 30, 35))]
    return write_dataset(folder, [(7, 'a.png', 60, 80), (9, 'b.png', 60, 80)], annotations)


def opened(folder: Path, kind: str, **options: Any) -> TrainingSource:
    path = two_images(folder)
    values = {'kind': kind, 'images': str(folder / 'images'), 'annotations': str(path), 'classes': CLASSES} | options
    return open_training_source(DataSource.from_dict(values), SIZE, {}, Console())


def test_a_mapping_gives_each_category_its_class_and_the_rest_to_the_empty_one(tmp_path: Path) -> None:
    assert class_names(['dog', 'person', 'bottle'], CLASSES, 'x') == ('pet', 'person', 'object')
    assert class_names(['dog', 'person'], 'categories', 'x') == ('dog', 'person')
    source = opened(tmp_path, 'images')
    shown = [source.videos.video(seed).frame(0) for seed in range(20)]
    names = {source.class_names[class_id] for frame in shown for class_id in frame.class_ids}
    assert names == {'pet', 'object'}


def test_a_mapping_without_a_class_for_a_category_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no class for 'bottle' of labels.json: list them, or add .* object: \[\]"):
        class_names(['dog', 'bottle'], {'pet': ['dog']}, 'labels.json')


def test_pixels_of_a_partly_annotated_image_are_ignored_but_for_its_objects(tmp_path: Path) -> None:
    path = two_images(tmp_path)
    frame = CocoDataset(tmp_path / 'images', path, exhaustive=False).frame(0)
    assert frame.ignored is not None
    np.testing.assert_array_equal(frame.ignored, ~frame.masks.any(0))


def test_boxes_of_another_detector_are_ignored_where_nobody_annotated_an_object(tmp_path: Path) -> None:
    path = two_images(tmp_path)
    boxes = tmp_path / 'boxes.json'
    found = [[11, 9, 30, 30], [50, 10, 20, 30], [70.5, 50.5, 30, 30]]  # the annotated dog, another, one at the border
    boxes.write_text(json.dumps([{'image_id': 7, 'bbox': box, 'score': 0.5, 'category_id': 1} for box in found]))
    frame = CocoDataset(tmp_path / 'images', path, ignored_boxes=boxes).frame(0)
    wanted = np.zeros(SIZE, bool)
    wanted[10:40, 50:70] = wanted[50:, 70:] = True
    np.testing.assert_array_equal(frame.ignored, wanted)
    assert CocoDataset(tmp_path / 'images', path, ignored_boxes=boxes).frame(1).ignored is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{}', 'is no COCO results file'),
        ('[{"image_id": 7}]', 'is no COCO results file'),
        ('[{"image_id": 70, "bbox": [1, 2, 3, 4]}]', 'but of no image of the annotation file'),
    ],
)
def test_wrong_files_of_boxes_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = two_images(tmp_path)
    (tmp_path / 'boxes.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        CocoDataset(tmp_path / 'images', path, ignored_boxes=tmp_path / 'boxes.json')


def test_crops_come_from_images_and_videos_with_the_classes_of_the_mapping(tmp_path: Path) -> None:
    stills = tmp_path / 'stills'
    square = annotation(5, 3, 1, box_polygon(10, 8, 40, 38))
    labels = write_dataset(stills, [(3, 'c.png', 60, 80)], [square])
    videos = write_youtube_vis(tmp_path / 'videos')
    crops = [
        {'annotations': str(labels), 'images': str(stills / 'images'), 'classes': CLASSES},
        {'annotations': str(videos), 'classes': {'animal': ['dog'], 'pet': ['cat']}, 'copies': 2},
    ]
    source = opened(tmp_path / 'own', 'composites', crops=crops)
    assert isinstance(source.videos, CompositeVideos)
    pasted = Counter(source.class_names[each.class_id] for each in source.videos.objects)
    # Own: a dog and a bottle; a person of the stills; twice two dogs and a cat of the videos.
    assert pasted == {'pet': 1 + 2, 'object': 1, 'person': 1, 'animal': 4}
    frame = source.videos.video(3).frame(5)
    assert set(frame.class_ids.tolist()) <= set(range(len(source.class_names)))
    for each in source.videos.objects:
        assert each.crop(0.0).class_id == each.class_id


def test_class_balance_draws_rare_classes_more_often(tmp_path: Path) -> None:
    labels = [annotation(n, 7, 1 if n else 18, box_polygon(10, 8, 40, 38)) for n in range(16)]
    path = write_dataset(tmp_path, [(7, 'a.png', 60, 80)], labels)
    dataset = CocoDataset(tmp_path / 'images', path, 'categories')
    for balance, share in ((0.0, 1 / 16), (0.5, 1 / (1 + 15**0.5)), (1.0, 1 / 2)):
        config = CompositeConfig(objects=(1, 1), class_balance=balance, duplicate=0, same_class=0)
        videos = CompositeVideos(dataset, dataset.objects(), SIZE, config)
        drawn = [each.source.class_id for seed in range(600) for each in videos.video(seed).moving_objects]
        assert abs(np.mean(np.array(drawn) == dataset.class_names.index('dog')) - share) < 0.06
