"""Reading the output of `vis-ros replay`, and every fault of its lines."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.replay_folder import read_replay_folder
from vis_ros.instances import Instances
from vis_ros.replay.records import frame_record

NAMES = ('dog', 'cat')


def record(index, epoch=0, track_ids=(1, 2), seed=0, stamp_ns=None):
    """A line as written by replay, of objects with random masks."""
    random = np.random.default_rng([seed, index])
    count = len(track_ids)
    rois = np.array([(1 + k, 2, 6 + k, 7) for k in range(count)], np.int32).reshape(-1, 4)
    instances = Instances(
        image_size=(10, 12),
        boxes=rois.astype(np.float32),
        scores=random.random(count).astype(np.float32),
        class_ids=np.arange(count) % 2,
        rois=rois,
        masks=[random.integers(0, 2, (5, 5), np.uint8) for _ in range(count)],
        track_ids=np.array(track_ids, np.uint32),
    )
    stamp_ns = 1_700_000_000_000_000_001 + index if stamp_ns is None else stamp_ns
    return frame_record(index, stamp_ns, f'{index}.png', epoch, instances.with_fields(class_names=NAMES)), instances


def write(folder, lines, run=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'results.jsonl').write_text(''.join((x if isinstance(x, str) else json.dumps(x)) + '\n' for x in lines))
    if run is not None:
        (folder / 'run.json').write_text(json.dumps(run))
    return folder


def test_what_replay_writes_is_read(tmp_path):
    made = [record(0), record(2, track_ids=()), record(4, epoch=1, track_ids=(1,))]
    run = {'vis_ros': '0.1.0', 'source': '/recordings/yard.mcap', 'class_names': [*NAMES, 'bird']}
    read = read_replay_folder(write(tmp_path / 'out', [line for line, _ in made], run))
    assert read.class_names == (*NAMES, 'bird') and read.settings == run and read.has_classes
    (only,) = read.videos
    assert (only.name, len(only)) == ('yard', 3)
    for frame, (line, instances) in zip(only, made, strict=True):
        assert (frame.name, frame.index, frame.size) == (line['name'], line['index'], (10, 12))
        assert frame.stamp_ns == 1_700_000_000_000_000_001 + line['index'], 'to the nanosecond'
        assert np.allclose(frame.scores, instances.scores, atol=1e-6)
        assert frame.class_ids.tolist() == instances.class_ids.tolist()
        for position, mask in enumerate(frame.masks):
            assert (decode(mask) == instances.full_mask(position)).all()
    assert [frame.track_ids.tolist() for frame in only] == [[1, 2], [], [2**32 + 1]]
    assert only.frame(2).track_ids.tolist() == [2**32 + 1]
    (bare,) = read_replay_folder(tmp_path / 'out' / 'results.jsonl').videos
    assert len(bare) == 3


def test_masks_are_read_as_by_pycocotools(tmp_path):
    line, _ = record(0)
    (only,) = read_replay_folder(write(tmp_path, [line])).videos
    for mask, instance in zip(only.frame(0).masks, line['instances'], strict=True):
        assert (decode(mask) == coco.decode(coco.frPyObjects(instance['mask'], 10, 12))).all()


def test_results_that_are_not_those_of_the_replay_are_told(tmp_path):
    lines = [json.dumps(record(0)[0]) + '\n', json.dumps(record(1)[0]) + '\n']
    digests = {'': hashlib.sha256(''.join(lines).encode()).hexdigest()}
    write(tmp_path, [line[:-1] for line in lines], {'source': 'x', 'class_names': NAMES, 'results_sha256': digests})
    assert read_replay_folder(tmp_path).inferred == []
    path = tmp_path / 'results.jsonl'
    path.write_text(path.read_text().replace('"track_id": 2', '"track_id": 3', 1))
    assert 'was edited or damaged since the replay' in read_replay_folder(tmp_path).inferred[0]


def test_without_run_json_the_classes_come_from_the_lines(tmp_path):
    line, _ = record(0)
    line['instances'][1] |= {'class_id': 3, 'class_name': 'bird'}
    read = read_replay_folder(write(tmp_path / 'out', [line]))
    assert read.class_names == ('dog', 'class 1', 'class 2', 'bird') and read.settings == {}
    assert [each.name for each in read.videos] == ['out']


def test_empty_masks_are_left_out(tmp_path):
    line, _ = record(0)
    line['instances'][0]['mask'] = {'size': [10, 12], 'counts': [120]}
    (only,) = read_replay_folder(write(tmp_path, [line])).videos
    assert only.frame(0).track_ids.tolist() == [2] and only.empty_masks(0) == [1]


def test_several_cameras_share_one_run_json(tmp_path):
    run = {'source': 'bag', 'class_names': list(NAMES), 'cameras': ['front', 'rear10', 'rear9']}
    for name in run['cameras']:
        write(tmp_path / name, [record(0)[0]])
    (tmp_path / 'run.json').write_text(json.dumps(run))
    read = read_replay_folder(tmp_path)
    assert [each.name for each in read.videos] == ['front', 'rear9', 'rear10'] and read.settings == run
    for cameras, name in (({'front': '/front/image'}, 'front'), ({'': '/image'}, 'yard'), ({}, 'yard')):
        one = write(tmp_path / 'one', [record(0)[0]], {'source': 'x/yard.mcap', 'cameras': cameras})
        assert [each.name for each in read_replay_folder(one).videos] == [name]


def test_several_runs_keep_the_settings_that_they_share(tmp_path):
    for name in ('bear', 'camel'):
        run = {'source': f'images/{name}.v2', 'weights': 'demo', 'class_names': list(NAMES)}
        write(tmp_path / f'run {name}', [record(0)[0]], run)
    read = read_replay_folder(tmp_path)
    assert [each.name for each in read.videos] == ['bear', 'camel']
    assert read.settings == {'weights': 'demo', 'class_names': list(NAMES)}

    write(tmp_path / 'run bear again', [record(0)[0]], {'source': 'bear', 'class_names': list(NAMES)})
    names = [each.name for each in read_replay_folder(tmp_path).videos]
    assert names == ['run bear', 'run bear again', 'run camel'], 'two of the same recording'

    write(tmp_path / 'other', [], {'source': 'images/dog', 'class_names': ['dog', 'cow']})
    with pytest.raises(AnnotationError, match="class 1 is 'cat', but in another run 'cow'"):
        read_replay_folder(tmp_path)


def test_every_bad_line_is_reported(tmp_path):
    good, _ = record(0)

    def bad(index, instance=None, **changes):
        line = json.loads(json.dumps(record(index)[0])) | changes
        line['instances'][0] |= instance or {}
        return line

    path = write(
        tmp_path,
        [
            good,
            '{"index": 1',
            [],
            bad(3, epoch=-1, height=0, name=None),
            bad(4, {'track_id': 2}),
            bad(5, {'track_id': 2**32, 'score': 'high', 'class_id': -1}),
            bad(6, {'class_name': 'cow', 'mask': {'size': [10, 12], 'counts': [119]}}),
            bad(6),
            {**record(7)[0], 'stamp_ns': 0.5, 'instances': [7]},
            {},
        ],
        {'class_names': 'dog'},
    )
    with pytest.raises(AnnotationError) as caught:
        read_replay_folder(path)
    file = str(tmp_path / 'results.jsonl')
    assert [(each.file, each.record, each.what) for each in caught.value.problems] == [
        (str(tmp_path / 'run.json'), '', "'class_names' is 'dog', expected a list of strings"),
        (file, 'line 2, column 12', "is not JSON: Expecting ',' delimiter"),
        (file, 'line 3', 'is [], expected an object'),
        (file, 'line 4', "'name' is None, expected a string"),
        (file, 'line 4', "'epoch' is -1, expected at least 0"),
        (file, 'line 4', "'height' is 0, expected 1 to 32768"),
        (file, 'line 5, instances[1]', 'the track id 2 occurs twice in this frame'),
        (file, 'line 6, instances[0]', "'track_id' is 4294967296, expected 0 to 4294967295"),
        (file, 'line 6, instances[0]', "'class_id' is -1, expected 0 to 65535"),
        (file, 'line 6, instances[0]', "'score' is 'high', expected a number from 0 to 1"),
        (file, 'line 7, instances[0]', "'class_name' of class 0 is 'cow', but elsewhere 'dog'"),
        (file, 'line 7, instances[0], mask', 'run lengths sum to 119, but the image has 10 x 12 = 120 pixels'),
        (file, 'line 8', "'index' is 6, but in the line before 6"),
        (file, 'line 9', "'stamp_ns' is 0.5, expected an integer"),
        (file, 'line 9, instances[0]', 'is 7, expected an object'),
        (file, 'line 10', "has no 'name'"),
        (file, 'line 10', "has no 'epoch'"),
        (file, 'line 10', "has no 'height'"),
        (file, 'line 10', "has no 'width'"),
        (file, 'line 10', "has no 'instances'"),
        (file, 'line 10', "has no 'index'"),
    ]


def test_a_folder_without_results_is_reported(tmp_path):
    with pytest.raises(AnnotationError, match=r'contains no results\.jsonl, nor does any folder in it'):
        read_replay_folder(tmp_path)


def test_the_images_are_those_of_the_folder_that_was_replayed(tmp_path):
    lines = [record(index)[0] for index in range(3)]
    lines[2]['name'] = '../images/1.png'
    images = tmp_path / 'images'
    images.mkdir()
    image = np.random.default_rng(3).integers(0, 255, (10, 12, 3), np.uint8)
    cv2.imwrite(str(images / '1.png'), image)
    run = {'source': str(images), 'class_names': NAMES}
    (video,) = read_replay_folder(write(tmp_path / 'out', lines, run)).videos
    read = [video.frame(index).read_image for index in range(3)]
    assert read[0] is None, 'it is not there'
    assert np.array_equal(read[1](), image)
    assert read[2] is None, 'no name leads out of the folder'


def test_the_images_of_several_folders_are_told_apart(tmp_path):
    for number, name in enumerate(('left', 'right')):
        write(tmp_path / 'out' / name, [record(0)[0]])
        (tmp_path / 'images' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'images' / name / '0.png'), np.full((10, 12, 3), 100 * number, np.uint8))
    run = {'source': str(tmp_path / 'images'), 'class_names': NAMES}
    (tmp_path / 'out' / 'run.json').write_text(json.dumps(run))
    for number, video in enumerate(read_replay_folder(tmp_path / 'out').videos):
        assert (video.frame(0).read_image() == 100 * number).all()
