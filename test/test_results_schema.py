"""results.schema.json against what writes the lines, against the message, and against its documentation."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.replay_folder import read_replay_folder
from vis_ros.instances import CONFIRMED, TENTATIVE, Instances
from vis_ros.replay.records import SCHEMA, VERSION, frame_record

ROOT = Path(__file__).parents[1]
# Field of InstanceMask -> field of an object, and field of InstanceMaskArray -> field of a line.
OBJECT_FIELDS = {
    **{name: name for name in ('track_id', 'state', 'hits', 'first_seen', 'class_id', 'class_name', 'score')},
    **{name: name for name in ('match_score', 'roi', 'area', 'position')},
    **{'centroid_x': 'centroid', 'centroid_y': 'centroid', 'mask_encoding': 'mask', 'mask_data': 'mask'},
}
LINE_FIELDS = {
    **{name: name for name in ('epoch', 'sequence', 'dropped', 'latency', 'instances')},
    **{'header': 'stamp', 'image_height': 'height', 'image_width': 'width'},
}
IN_RUN_JSON = {'model'}


@pytest.fixture(scope='module')
def schema():
    content = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(content)
    return content


def tracked(**fields):
    mask = np.ones((2, 3), np.uint8)
    mask[0, 0] = 0
    return Instances(
        (6, 8), [[1, 1, 4, 3]], [0.7], [1], [[1, 1, 4, 3]], [mask], class_names=('cat', 'dog')
    ).with_fields(
        **{'track_ids': [3], 'match_scores': [0.5], 'hits': [2], 'states': [TENTATIVE], 'first_seen': [0.25], **fields}
    )


@pytest.mark.parametrize(
    'instances',
    [
        tracked(),
        tracked(states=[CONFIRMED], positions=[[0.1, 0.2, 1.5]]),
        tracked(positions=[[np.nan] * 3]),
        tracked(states=None, hits=None, match_scores=None, first_seen=None),
        Instances.empty((6, 8)).with_fields(track_ids=[], class_names=('cat',)),
    ],
)
def test_every_line_that_is_written_fits_the_schema(schema, instances):
    record = frame_record(4, 250_000_000, 'x.png', 0, instances, False, frame_id='eye', sequence=5, dropped=1)
    line = json.loads(json.dumps(record))
    Draft202012Validator(schema).validate(line)
    Draft202012Validator(schema).validate(line | {'latency': None, 'round': 2})


def test_a_line_has_what_the_tracker_found():
    record = frame_record(
        4, 2_000_000_000, 'x.png', 7, tracked(), frame_id='eye', sequence=5, dropped=1, origin_ns=10**9
    )
    assert (record['frame_id'], record['sequence'], record['dropped'], record['version']) == ('eye', 5, 1, VERSION)
    (one,) = record['instances']
    assert (one['state'], one['hits'], one['match_score'], one['first_seen']) == ('tentative', 2, 0.5, 1.25)
    rows, columns = np.nonzero([[0, 1, 1], [1, 1, 1]])
    assert one['area'] == 5
    # As in the message: the mean over the pixels of the mask.
    assert one['centroid'] == pytest.approx([1 + columns.mean(), 1 + rows.mean()], abs=0.51)


@pytest.mark.parametrize(
    ('where', 'change'),
    [
        ('line', {'version': 3}),
        ('line', {'index': -1}),
        ('line', {'colour': 1}),
        ('object', {'state': 1}),
        ('object', {'score': 1.5}),
        ('object', {'box': [1, 2, 3]}),
        ('object', {'mask': {'size': [6, 8], 'counts': 'abc'}}),
    ],
)
def test_the_schema_refuses_what_is_wrong(schema, where, change):
    line = json.loads(json.dumps(frame_record(4, 0, 'x', 0, tracked())))
    (line if where == 'line' else line['instances'][0]).update(change)
    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate(line)


def message_fields(name):
    """The fields of a message definition; constants are written in capitals."""
    text = re.sub(r'#.*', '', (ROOT / 'msg' / name).read_text())
    return {match for match in re.findall(r'^\S+[ \t]+([a-z_]+)[ \t]*$', text, re.MULTILINE)}


def test_every_field_of_the_message_is_in_the_file(schema):
    properties = schema['$defs']['instance']['properties']
    assert message_fields('InstanceMask.msg') == set(OBJECT_FIELDS)
    assert set(OBJECT_FIELDS.values()) | {'box'} == set(properties)
    assert message_fields('InstanceMaskArray.msg') == set(LINE_FIELDS) | IN_RUN_JSON
    own = {'version', 'index', 'name', 'round', 'stamp_ns', 'frame_id'}
    assert set(LINE_FIELDS.values()) | own == set(schema['properties'])


def test_every_field_is_documented(schema):
    page = (ROOT / 'doc' / 'recordings.md').read_text()
    names = {*schema['properties'], *schema['$defs']['instance']['properties']}
    table = page[page.index('### results.jsonl') : page.index('### results.json\n')]
    listed = set(re.findall(r'`(\w+)`', ' '.join(re.findall(r'^\| ([^|]*) \|', table, re.MULTILINE))))
    assert listed == names


def test_a_file_of_a_newer_version_is_refused_and_one_without_version_is_read(tmp_path):
    line = frame_record(0, 0, 'x', 0, tracked())
    for version, fits in ((None, True), (VERSION, True), (VERSION + 1, False), ('two', False)):
        content = {key: value for key, value in line.items() if key != 'version'}
        content |= {} if version is None else {'version': version}
        (tmp_path / 'results.jsonl').write_text(json.dumps(content) + '\n')
        if fits:
            assert len(next(iter(read_replay_folder(tmp_path / 'results.jsonl').videos[0]))) == 1
        else:
            with pytest.raises(AnnotationError, match="'version' is"):
                read_replay_folder(tmp_path / 'results.jsonl')
