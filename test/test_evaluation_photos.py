"""Photos: figures as pycocotools has them, pairs by file name, nothing that follows objects from photo to photo."""

import json

import pytest
from helpers.annotated_memory import frame, video, videos
from helpers.made_photos import by_pycocotools, made

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.photos import as_photos
from vis_ros.evaluation.compare_results import compare
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.preparation import Preparation
from vis_ros.evaluation.report.mistakes_sheet import photo_mistakes

A, B = (0, 0, 10, 10), (15, 0, 25, 10)


def opened(folder, truth, rows):
    (folder / 'truth.json').write_text(json.dumps(truth))
    (folder / 'results.json').write_text(json.dumps(rows))
    there = open_annotations(folder / 'truth.json')
    return Preparation().apply(open_annotations(folder / 'results.json', truth=there), there)


@pytest.mark.parametrize('seed', range(3))
def test_figures_equal_pycocotools_with_crowds(tmp_path, seed):
    truth, rows = made(60, seed)
    evaluation = evaluate(*opened(tmp_path, truth, rows))
    assert evaluation.photos and evaluation.unit == 'photo' and len(evaluation.units) == 60
    for own, use_classes in ((evaluation.aware, 1), (evaluation.agnostic, 0)):
        expected = by_pycocotools(truth, rows, use_classes)
        assert {name: own[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_a_folder_of_photos_is_matched_by_file_name_whatever_the_order_and_the_video():
    truth = videos(*[video([frame([(1, A)], name=f'{name}.jpg')], name) for name in ('b', 'a', 'c')])
    found = [frame([(5, A)], 0, name='a.png'), frame([(5, B)], 1, name='b.png')]
    results, there = Preparation(photos=True).apply(videos(video(found, 'images')), truth)
    evaluation = evaluate(results, there)
    assert {name: values['AP'] for name, values in evaluation.per_video.items()} == {'b': 0, 'a': 1, 'c': 0}
    assert evaluation.coverage.missing_videos == ('c',) and evaluation.coverage.matched_by == {'a': 'name', 'b': 'name'}
    assert any('tracked as a video' in text for text in evaluation.inferred)
    assert evaluation.agnostic['IDSW'] == 0


def test_photos_of_the_same_name_in_several_folders():
    folders = [video([frame([(1, box)], name='1.jpg')] * 2, name) for name, box in (('left', A), ('right', B))]
    names = [photo.name for photo in as_photos(videos(*folders)).videos]
    assert names == ['left_1', 'left_1', 'right_1', 'right_1']
    single = [video([frame([(1, A)], name='0.jpg')], name) for name in ('x', 'y')]
    assert [photo.name for photo in as_photos(videos(*single)).videos] == ['x', 'y']


def test_the_class_aware_ap_decides_between_photos(tmp_path):
    truth, rows = made(40)
    worse = [{**row, 'category_id': 3} for row in rows]
    before, after = (evaluate(*opened(tmp_path, truth, each)) for each in (rows, worse))
    verdict = compare(before, after).verdict
    assert (verdict.answer, verdict.figure, verdict.aware, verdict.unit, verdict.units) == (
        *('worse', 'AP', True, 'photo'),
        40,
    )
    assert verdict.change == pytest.approx(after.aware['AP'] - before.aware['AP'])
    assert verdict.interval.low < verdict.change < verdict.interval.high < 0
    with pytest.raises(ValueError, match='photos have no identities'):
        compare(before, after, by='HOTA')


def test_nothing_is_a_false_object_where_only_some_are_labeled():
    truth = videos(*[video([frame([(1, A)], name=f'{name}.jpg')], name) for name in ('a', 'b')])
    found = [frame([(5, A), (6, B)], 0, name='a.png'), frame([(5, B)], 1, name='b.png')]
    pair = Preparation(photos=True).apply(videos(video(found, 'images')), truth)
    counts = {
        labels: {each.name: each.counts for each in photo_mistakes(evaluate(*pair, labels=labels))}
        for labels in ('exhaustive', 'partial')
    }
    assert {name: each['false'] for name, each in counts['exhaustive'].items()} == {'a': 1, 'b': 1}
    assert {name: (each['missed'], each['false']) for name, each in counts['partial'].items()} == {'b': (1, 0)}
