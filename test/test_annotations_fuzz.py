"""Damaged files of every format: their problems are reported, or they are still valid; no other error is raised."""

import copy
import json
import re

import pytest
from helpers.random_annotations import random_videos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_annotations_replay_folder import record, write

from vis_ros.datasets.checking import check_annotations
from vis_ros.datasets.coco_vid import write_coco
from vis_ros.datasets.cvat_xml import write_cvat
from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.mots import write_mots
from vis_ros.datasets.mots_png import write_mots_png
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.datasets.youtube_vis_results import result_rows

some_value = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**63, -(2**70), 10**400, 0.5, float('nan'), float('inf'), '', 'x', 'h', [], {}, [[]]]),
    st.lists(st.one_of(st.integers(-9, 99), st.none(), st.floats()), max_size=8),
)
fuzzed = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value, place=()):
    """The path of keys to every place in a JSON value."""
    yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*place, key))


def changed(value, place, new):
    """A copy with another value at a place, or without it."""
    if not place:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if new == 'remove':
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return value


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    """A small valid example of each format."""
    made = random_videos(frames=2, objects=2, disjoint=True, ignored=True, stamps=True, size=(6, 8))
    root = tmp_path_factory.mktemp('sound')
    write_youtube_vis(made, root / 'vis')
    write_mots(made, root / 'mots')
    write_davis(made, root / 'davis')
    write_coco(made, root / 'coco')
    write_cvat(made, root / 'cvat')
    write_mots_png(made, root / 'mots_png')
    write(root / 'replay', [record(0)[0], record(1)[0]], {'source': 'x', 'class_names': ['dog', 'cat']})
    return root


def assert_reported_or_valid(path, **options):
    found = check_annotations(path, **options)
    assert found.problems or found.videos is not None
    for problem in found.problems:
        assert problem.file and problem.what and len(problem.what) < 500


@fuzzed
@given(data=st.data())
def test_youtube_vis(sound, tmp_path, data):
    content = json.loads((sound / 'vis' / 'instances.json').read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(content))))
        content = changed(content, place, data.draw(st.one_of(st.just('remove'), some_value)) if place else {})
    (tmp_path / 'x.json').write_text(json.dumps(content))
    assert_reported_or_valid(tmp_path / 'x.json')


@fuzzed
@given(data=st.data(), has_videos=st.booleans())
def test_coco_with_track_ids(sound, tmp_path, data, has_videos):
    content = json.loads((sound / 'coco' / 'instances.json').read_text())
    if not has_videos:
        del content['videos']
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(content))))
        content = changed(content, place, data.draw(st.one_of(st.just('remove'), some_value)) if place else {})
    (tmp_path / 'x.json').write_text(json.dumps(content))
    assert_reported_or_valid(tmp_path / 'x.json')


@fuzzed
@given(data=st.data())
def test_rows_of_results(sound, tmp_path, data):
    truth = check_annotations(sound / 'vis').videos
    content = list(result_rows(truth))
    content = changed(content, data.draw(st.sampled_from(list(places(content))[1:])), data.draw(some_value))
    (tmp_path / 'x.json').write_text(json.dumps(content))
    assert_reported_or_valid(tmp_path / 'x.json', truth=truth)


@fuzzed
@given(data=st.data())
def test_lines_of_replay(sound, tmp_path, data):
    lines = [json.loads(line) for line in (sound / 'replay' / 'results.jsonl').read_text().splitlines()]
    lines = changed(lines, data.draw(st.sampled_from(list(places(lines))[1:])), data.draw(some_value))
    run = {'source': 'x', 'class_names': ['dog', 'cat']}
    run = changed(run, data.draw(st.sampled_from(list(places(run)))), data.draw(some_value))
    assert_reported_or_valid(write(tmp_path, lines, run))


def damaged(data, drawn):
    """Bytes with some of them overwritten, possibly truncated."""
    damage = bytearray(data)
    for _ in range(drawn.draw(st.integers(0, 3))):
        damage[drawn.draw(st.integers(0, len(damage) - 1))] = drawn.draw(st.integers(0, 255))
    return bytes(damage[: drawn.draw(st.one_of(st.just(len(damage)), st.integers(0, len(damage))))])


@fuzzed
@given(data=st.data())
def test_bytes_of_mots(sound, tmp_path, data):
    (tmp_path / 'x.txt').write_bytes(damaged((sound / 'mots' / 'instances_txt' / 'first.txt').read_bytes(), data))
    assert_reported_or_valid(tmp_path / 'x.txt')


@fuzzed
@given(data=st.data())
def test_bytes_of_images(sound, tmp_path, data):
    (tmp_path / '0.png').write_bytes(damaged((sound / 'davis/Annotations/first/00000.png').read_bytes(), data))
    assert_reported_or_valid(tmp_path)


@fuzzed
@given(data=st.data())
def test_bytes_of_cvat(sound, tmp_path, data):
    (tmp_path / 'x.xml').write_bytes(damaged((sound / 'cvat' / 'first' / 'annotations.xml').read_bytes(), data))
    assert_reported_or_valid(tmp_path / 'x.xml')


@fuzzed
@given(data=st.data())
def test_values_of_cvat(sound, tmp_path, data):
    text = (sound / 'cvat' / 'first' / 'annotations.xml').read_text()
    numbers = list(re.finditer(r'(?<=[">,;])-?\d+(?=["<,;])', text))
    chosen = data.draw(st.sampled_from(numbers))
    other = data.draw(st.sampled_from(['', '-1', '1e9', 'nan', 'inf', '99999999', str(10**30), 'x', '0', '1', '٣']))
    (tmp_path / 'x.xml').write_text(text[: chosen.start()] + other + text[chosen.end() :])
    assert_reported_or_valid(tmp_path / 'x.xml')


@fuzzed
@given(data=st.data())
def test_bytes_of_mots_png(sound, tmp_path, data):
    folder = sound / 'mots_png' / 'first' / 'instances'
    (tmp_path / 'instances').mkdir(exist_ok=True)
    (tmp_path / 'instances' / '0.png').write_bytes((folder / '00000.png').read_bytes())
    (tmp_path / 'instances' / '1.png').write_bytes(damaged((folder / '00001.png').read_bytes(), data))
    (tmp_path / 'instances' / 'labels.txt').write_bytes(damaged((folder / 'labels.txt').read_bytes(), data))
    assert_reported_or_valid(tmp_path)


@fuzzed
@given(data=st.data())
def test_bytes_of_json(sound, tmp_path, data):
    for folder, name in (('vis', 'instances.json'), ('replay', 'results.jsonl')):
        (tmp_path / name).write_bytes(damaged((sound / folder / name).read_bytes(), data))
        assert_reported_or_valid(tmp_path / name)
