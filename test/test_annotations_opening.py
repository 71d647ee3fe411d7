"""The format is detected from the content of a path; ambiguous paths are refused."""

import json

import numpy as np
import pytest
from helpers.annotated_memory import frame, video, videos
from helpers.random_annotations import content, random_videos
from test_annotations_replay_folder import record, write

from vis_ros.datasets.bag_annotations import write_bag
from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.mots import write_mots
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.datasets.youtube_vis_results import write_youtube_vis_results


@pytest.fixture
def made():
    return random_videos(disjoint=True)


def test_each_format_is_detected_as_file_and_as_folder(tmp_path, made):
    write_youtube_vis(made, tmp_path / 'vis')
    write_mots(made, tmp_path / 'mots')
    write_davis(made, tmp_path / 'davis')
    write(tmp_path / 'replay', [record(0)[0]], {'source': 'x'})
    write_bag(made, tmp_path / 'bag')
    for path, kind, count in [
        ('vis', 'YouTube-VIS JSON', 2),
        ('vis/instances.json', 'YouTube-VIS JSON', 2),
        ('mots', 'MOTS text', 2),
        ('mots/instances_txt', 'MOTS text', 2),
        ('mots/instances_txt/first.txt', 'MOTS text', 1),
        ('davis', 'DAVIS mask images', 2),
        ('davis/Annotations', 'DAVIS mask images', 2),
        ('davis/Annotations/first', 'DAVIS mask images', 1),
        ('replay', 'results of vis-ros replay', 1),
        ('replay/results.jsonl', 'results of vis-ros replay', 1),
        ('bag', 'bag', 2),
    ]:
        read = open_annotations(tmp_path / path)
        assert (read.kind, len(read.videos), read.source) == (kind, count, read.source), path
        assert str(tmp_path / path) in read.source


def test_coco_and_youtube_vis_files_are_distinguished(tmp_path):
    path = tmp_path / 'instances.json'
    images = [{'id': 1, 'file_name': 'a.jpg', 'height': 4, 'width': 4}]
    path.write_text(json.dumps({'images': images, 'categories': [{'id': 1, 'name': 'x'}], 'annotations': []}))
    assert open_annotations(path).kind == open_annotations(tmp_path).kind == 'COCO JSON'


def test_other_files_of_a_replay_are_not_taken_for_annotations(tmp_path, made):
    folder = write(tmp_path / 'replay', [record(0)[0]], {'source': 'x'})
    write_youtube_vis_results(made, folder / 'results.json')
    write_bag(made, folder / 'bag')
    (folder / 'contact_sheet.png').write_bytes(b'')
    assert open_annotations(folder).kind == 'results of vis-ros replay'
    with pytest.raises(
        AnnotationError, match=r'lists neither the frames nor the classes of its replay: give the folder .*replay '
    ):
        open_annotations(folder / 'results.json', truth=made)
    cameras = tmp_path / 'cameras'
    for name in ('front', 'rear'):
        write(cameras / name, [record(0)[0]])
    write_youtube_vis_results(made, cameras / 'results.json')
    assert len(open_annotations(cameras).videos) == 2


def test_a_list_of_results_needs_the_ground_truth(tmp_path):
    truth = videos(video([frame([(1, (0, 0, 3, 3))], size=(24, 36))]), class_names=('car', 'pedestrian'))
    results = random_videos(names=('only',), frames=1)
    write_youtube_vis_results(results, tmp_path / 'rows.json')
    with pytest.raises(AnnotationError, match='does not list the frames: give the ground truth too'):
        open_annotations(tmp_path / 'rows.json')
    read = open_annotations(tmp_path / 'rows.json', truth=truth)
    (expected,), (got,) = (content(each, ids=False).values() for each in (results, read))
    assert got == expected


def test_several_formats_in_one_folder_are_refused(tmp_path, made):
    write_youtube_vis(made, tmp_path)
    write_davis(made, tmp_path)
    write_mots(made, tmp_path)
    write_bag(made, tmp_path / 'bag')
    for file in (tmp_path / 'bag').iterdir():
        file.rename(tmp_path / file.name)
    expected = r'holds several annotations, choose one of them: bag, instances\.json, DAVIS mask images, MOTS text'
    with pytest.raises(AnnotationError, match=expected):
        open_annotations(tmp_path)
    assert open_annotations(tmp_path, topic='/truth/first/instances').kind == 'bag', 'only a bag has topics'


def test_a_folder_of_images_is_read_as_masks_only_without_other_annotations(tmp_path, made):
    write_youtube_vis(random_videos(images=True), tmp_path)
    (tmp_path / 'mask.png').write_bytes(b'')
    assert open_annotations(tmp_path).kind == 'YouTube-VIS JSON'


def test_unknown_formats_are_reported_with_the_known_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no file or folder .*nowhere'):
        open_annotations(tmp_path / 'nowhere')
    with pytest.raises(
        AnnotationError, match=r'holds no annotations. Known are a YouTube-VIS, CocoVID or COCO file.*bag'
    ):
        open_annotations(tmp_path)
    (tmp_path / 'notes.doc').write_text('notes')
    with pytest.raises(AnnotationError, match=r'notes\.doc: is not a file of a known format\. Known are a YouTube-VIS'):
        open_annotations(tmp_path / 'notes.doc')
    for text, message in [
        ('{"pictures": [], "a": 1}', r"is an object with 'pictures', 'a', expected an object with 'videos'"),
        ('{}', 'is an object with nothing, expected'),
        ('"text"', "is 'text', expected"),
        ('', 'is empty: it has no bytes'),
        ('{"videos": [],\n  "categories": [}', 'line 2, column 18: is not JSON: Expecting value'),
    ]:
        (tmp_path / 'x.json').write_text(text)
        with pytest.raises(AnnotationError, match=message):
            open_annotations(tmp_path / 'x.json')
    (tmp_path / 'x.json').write_bytes(b'\xff\xfe[]')
    with pytest.raises(AnnotationError, match='is not JSON'):
        open_annotations(tmp_path / 'x.json')


def test_a_topic_is_only_for_bags(tmp_path, made):
    write_youtube_vis(made, tmp_path / 'vis')
    with pytest.raises(ValueError, match='is not a bag, so it has no topic'):
        open_annotations(tmp_path / 'vis', topic='/x')
    write_bag(made, tmp_path / 'bag')
    assert [each.name for each in open_annotations(tmp_path / 'bag', topic='/truth/second/instances').videos] == [
        'second'
    ]


def test_images_may_be_somewhere_else(tmp_path):
    made = random_videos(images=True, disjoint=True)
    for name, writer, folder in (
        ('vis', write_youtube_vis, 'JPEGImages'),
        ('davis', write_davis, 'JPEGImages'),
        ('mots', write_mots, 'images'),
    ):
        writer(made, tmp_path / name)
        (tmp_path / name / folder).rename(tmp_path / 'pictures')
        for images, found in ((None, False), (tmp_path / 'pictures', True)):
            read = open_annotations(tmp_path / name, images=images)
            assert {each.read_image is not None for one in read.videos for each in one} == {found}, name
        (tmp_path / 'pictures').rename(tmp_path / f'pictures of {name}')
    assert np.ptp([len(each) for each in read.videos]) == 0
