"""The kind of ground truth: partial labels, classes of other names, the frames that DAVIS scores, micro totals."""

import json

import pytest
from helpers.annotated_memory import video, videos

from vis_ros.datasets.converting import convert_annotations
from vis_ros.datasets.labels import labels_of
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.replay_folder import PUBLISHED_RULES
from vis_ros.evaluation.class_map import map_classes, read_class_map
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import METRICS
from vis_ros.evaluation.leading_figure import meaningful, shown_figures
from vis_ros.evaluation.preparation import Preparation
from vis_ros.tracking import settings

A, B, C = (0, 0, 10, 10), (15, 0, 25, 10), (0, 12, 10, 20)
MODEL = {'class_names': ['person', 'vehicle', 'animal']}


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('to', ['youtube-vis', 'davis', 'mots', 'bag'])
@pytest.mark.parametrize('labels', ['partial', 'exhaustive'])
def test_converted_files_remember_whether_all_objects_are_labeled(tmp_path, to, labels):
    source = videos([[(1, A, 0)]] * 3, class_names=('car', 'pedestrian'))
    convert_annotations(type(source)(**{**source.__dict__, 'labels': labels}), tmp_path / 'out', to)
    found = open_annotations(tmp_path / 'out')
    assert found.labels == labels and labels_of(found)[0] == labels
    convert_annotations(found, tmp_path / 'again', 'youtube-vis')
    assert open_annotations(tmp_path / 'again' / 'instances.json').labels == labels


def test_labels_are_chosen_stored_or_guessed():
    plain = videos([[(1, A)]])
    assert labels_of(plain)[0] == 'exhaustive'
    davis = type(plain)(**{**plain.__dict__, 'kind': 'DAVIS mask images'})
    assert labels_of(davis)[0] == 'partial' and 'DAVIS' in labels_of(davis)[1]
    assert labels_of(davis, 'exhaustive')[0] == 'exhaustive'
    assert evaluate(plain, davis).labels == 'partial'
    assert any('labels: partial' in text for text in evaluate(plain, davis).inferred)


def test_wrong_labels_in_a_file_are_a_problem(tmp_path):
    (tmp_path / 'truth.json').write_text(
        json.dumps({'info': {'labels': 'some'}, 'images': [], 'annotations': [], 'categories': []})
    )
    with pytest.raises(AnnotationError):
        open_annotations(tmp_path / 'truth.json')


def test_with_partial_labels_figures_of_false_detections_stand_apart():
    truth, found = videos([[(1, A)]] * 6), videos([[(1, A)]] * 6)
    more = videos([[(1, A), (2, B)]] * 6)  # an object that is there and has no label
    for name in meaningful(False, 'partial'):
        assert evaluate(found, truth).agnostic[name] == evaluate(more, truth).agnostic[name], name
    changed = [
        name for name in METRICS if evaluate(found, truth).agnostic[name] != evaluate(more, truth).agnostic[name]
    ]
    groups = list(shown_figures(False, 'partial').values())
    assert {'HOTA', 'DetA', 'IDF1', 'MOTA', 'sMOTSA'} <= set(changed) <= set(groups[1])
    assert sorted(groups[0] + groups[1]) == sorted(METRICS)
    assert shown_figures(False, 'exhaustive') == {'': METRICS}


# --- classes ----------------------------------------------------------------------------------------------------------


def classes_of(results, truth, names=None):
    sides = map_classes(results, truth, names)
    return [side.class_names for side in sides], [text for side in sides for text in side.remarks]


def test_categories_count_as_supercategories_where_only_these_are_on_the_other_side():
    fine = videos([[(1, A, 0), (2, B, 1), (3, C, 2)]], class_names=('person', 'dog', 'bus'))
    coarse = videos([[(1, A, 0), (2, B, 2), (3, C, 1)]], class_names=('person', 'vehicle', 'animal'), settings=MODEL)
    for results, truth in ((coarse, fine), (fine, coarse)):
        evaluation = evaluate(*map_classes(results, truth, None))
        assert evaluation.aware['HOTA'] == 1 and evaluation.per_class.keys() == {'person', 'animal', 'vehicle'}
        (remark,) = [text for text in evaluation.inferred if text.startswith('classes of')]
        assert 'dog as animal' in remark and 'bus as vehicle' in remark
    assert classes_of(fine, fine) == ([fine.class_names] * 2, [])
    assert classes_of(coarse, fine, {}) == ([coarse.class_names, fine.class_names], []), 'none was wished'


def test_groups_of_the_file_come_before_those_of_coco():
    truth = videos([[(1, A, 0), (2, B, 1)]], class_names=('dog', 'spanner'))
    truth = type(truth)(**{**truth.__dict__, 'supercategories': {'dog': 'pet', 'spanner': 'tool'}})
    assert classes_of(videos([], class_names=('pet', 'tool')), truth)[0][1] == ('pet', 'tool')
    assert classes_of(videos([], class_names=('animal', 'tool')), truth)[0][1] == ('animal', 'tool')


def test_a_map_renames_both_sides_and_unknown_names_are_refused(tmp_path):
    results, truth = videos([], class_names=('auto', 'person')), videos([], class_names=('car', 'people'))
    file = tmp_path / 'map.yaml'
    file.write_text('people: person\n')
    names = read_class_map(['auto=car', str(file)])
    assert classes_of(results, truth, names)[0] == [('car', 'person'), ('car', 'person')]
    with pytest.raises(ValueError, match='cat is a class of neither side; there are auto, car, people, person'):
        classes_of(results, truth, {'cat': 'dog'})
    assert read_class_map([]) is None and read_class_map(['none']) == {}
    file.write_text('- person\n')
    for wrong in (str(file), 'people', '=car'):
        with pytest.raises(ValueError, match='--class-map'):
            read_class_map([wrong])


def test_classes_that_the_model_does_not_have_are_said_instead_of_a_row_of_zeros():
    truth = videos([[(1, A, 0), (2, B, 1)]] * 4, class_names=('person', 'gnome'))
    results = videos([[(1, A, 0)]] * 4, class_names=('person', 'vehicle', 'animal'), settings=MODEL)
    evaluation = evaluate(results, truth)
    assert evaluation.per_class.keys() == {'person'} and evaluation.aware['HOTA'] == 1
    assert evaluation.coverage.unmatched_classes == {'gnome': 1}
    assert any(
        'does not have and cannot find' in text and 'gnome (1)' in text for text in evaluation.coverage.statements()
    )
    # Without the classes of the model, one that was never found may be known to it.
    assert evaluate(videos([[(1, A, 0)]] * 4, class_names=('person',)), truth).per_class.keys() == {'person', 'gnome'}


def test_without_a_common_class_there_are_no_class_aware_figures():
    truth = videos([[(1, A, 0)]] * 4, class_names=('gnome',))
    results = videos([[(1, A, 0)]] * 4, class_names=('person', 'vehicle', 'animal'), settings=MODEL)
    evaluation = evaluate(results, truth)
    assert evaluation.aware is None and 'no class of the results' in evaluation.why_not_aware()


def test_micro_totals_are_those_of_all_objects():
    truth = videos([[(1, A, 0), (2, B, 0), (3, C, 1)]] * 4, class_names=('person', 'dog'))
    results = videos([[(1, A, 0), (2, B, 0)]] * 4, class_names=('person', 'dog'))
    assert evaluate(results, truth).aware['J'] == 0.5
    assert evaluate(results, truth, over='micro').aware['J'] == pytest.approx(2 / 3)
    assert evaluate(results, truth, over='micro').aware['DetA'] == pytest.approx(2 / 3)


# --- frames and ids ---------------------------------------------------------------------------------------------------


def test_davis_scores_neither_the_first_nor_the_last_frame():
    truth = videos(video([[(1, A)]] * 5))
    results = videos(video([[(1, B)], [(1, A)], [(1, A)], [(1, A)], [(1, B)]]))
    assert evaluate(results, truth).agnostic['J'] == pytest.approx(0.6)
    evaluation = evaluate(*Preparation(davis_protocol=True).apply(results, truth))
    assert evaluation.agnostic['J'] == 1 and evaluation.coverage.compared == 3
    assert any('first and the last frame' in text for text in evaluation.inferred)


def line(index, instances):
    objects = [
        {'track_id': number, 'class_id': 0, 'score': 0.9, 'mask': {'size': [4, 4], 'counts': counts}}
        for number, counts in instances
    ]
    frame = {'index': index, 'name': f'{index}.png', 'height': 4, 'width': 4, 'epoch': 0, 'instances': objects}
    return json.dumps(frame)


@pytest.mark.parametrize('association', ['paper', 'mmtracking', 'one_to_one'])
def test_of_several_detections_with_one_id_the_last_counts_in_the_published_rules(tmp_path, association):
    assert settings.PUBLISHED_RULES == PUBLISHED_RULES
    run = {'class_names': ['person'], 'settings': {'association': association}}
    (tmp_path / 'run.json').write_text(json.dumps(run))
    (tmp_path / 'results.jsonl').write_text(line(0, [(1, [0, 4, 12]), (2, [8, 8]), (1, [4, 4, 8])]) + '\n')
    if association == 'one_to_one':
        with pytest.raises(AnnotationError, match='the track id 1 occurs twice in this frame'):
            open_annotations(tmp_path)
        return
    found = open_annotations(tmp_path)
    (frame,) = found.videos[0]
    assert dict(zip(frame.track_ids.tolist(), [each['counts'] for each in frame.masks], strict=True)).keys() == {1, 2}
    from vis_ros.datasets.coco_rle import decode

    kept = decode(frame.masks[frame.track_ids.tolist().index(1)])
    assert kept[:, 1].all() and not kept[:, 0].any(), 'the second detection of id 1'
    assert found.inferred == [
        '1 detection left out, because a later one of the same frame has the same id: the last one counts, as in the '
        f"code of the association rule '{association}'"
    ]
