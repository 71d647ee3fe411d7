"""Conversion: what two conversions in a row keep, and the state after a failure."""

import itertools
import os

import numpy as np
import pytest
from helpers.annotated_memory import MemoryVideo, frame, video, videos
from helpers.random_annotations import content, random_videos

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.converting import PASSES, WRITERS, convert_annotations
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError, Problem


@pytest.mark.parametrize(('first', 'second'), list(itertools.permutations(WRITERS, 2)))
def test_masks_and_identities_survive_two_conversions(tmp_path, first, second):
    made = random_videos(disjoint=True, ignored=True, images=True, names=('a', 'b'))
    convert_annotations(made, tmp_path / 'one', first)
    convert_annotations(open_annotations(tmp_path / 'one'), tmp_path / 'two', second)
    read = open_annotations(tmp_path / 'two')
    classes = 'davis' not in (first, second)
    held = {'ids': False, 'classes': classes, 'stamps': False}
    expected = content(made, **held)
    got = content(read, **held)
    assert got == expected
    for before, after in zip(made.videos, read.videos, strict=True):
        identity_of = {}
        for old, new in zip(before, after, strict=True):
            assert new.read_image().shape == (24, 36, 3)
            masks = {decode(mask).tobytes(): k for k, mask in zip(new.track_ids.tolist(), new.masks, strict=True)}
            for k, mask in zip(old.track_ids.tolist(), old.masks, strict=True):
                assert identity_of.setdefault(k, masks[decode(mask).tobytes()]) == masks[decode(mask).tobytes()]
        assert len(set(identity_of.values())) == len(identity_of)


def test_stamps_and_scores_reach_a_bag_and_come_back(tmp_path):
    made = random_videos(stamps=True, scores=True, names=('a', 'b'))
    assert convert_annotations(made, tmp_path / 'bag', 'bag') == []
    read = open_annotations(tmp_path / 'bag')
    held = {'scores': False}
    assert content(read, **held) == content(made, **held)
    for before, after in zip(made.videos, read.videos, strict=True):
        for old, new in zip(before, after, strict=True):
            assert np.allclose(sorted(old.scores), sorted(new.scores), atol=1e-6)
    convert_annotations(read, tmp_path / 'vis', 'youtube-vis')
    held = {'scores': False, 'ids': False}
    assert content(open_annotations(tmp_path / 'vis'), **held) == content(made, **held)


def test_file_names_keep_the_frame_order(tmp_path):
    shuffled = videos(video([frame([(1, (0, 0, 3, 3 + i))], i, name=name) for i, name in enumerate('cab')]))
    convert_annotations(shuffled, tmp_path / 'davis', 'davis')
    (only,) = open_annotations(tmp_path / 'davis').videos
    assert [each.name for each in only] == ['00000.png', '00001.png', '00002.png']
    assert [int(decode(each.masks[0]).sum()) for each in only] == [9, 12, 15]
    hostile = videos(video([frame([(1, (0, 0, 3, 3))], 0, name='../../x/1.5')], '../up'), video([[]], '..'))
    convert_annotations(hostile, tmp_path / 'hostile', 'davis')
    written = sorted(str(path.relative_to(tmp_path / 'hostile')) for path in (tmp_path / 'hostile').rglob('*.png'))
    assert written == ['Annotations/_up/_.._x_1.5.png', 'Annotations/video/00000.png']


@pytest.mark.parametrize('to', ['youtube-vis', 'davis', 'mots'])
def test_videos_whose_names_become_the_same_folder_are_kept_apart(tmp_path, to):
    box = (0, 0, 3, 3)
    made = videos(video([[(1, box)]], 'a/b'), video([[(2, box)], [(2, box)]], 'a_b'))
    convert_annotations(made, tmp_path, to)
    assert [(each.name, len(each)) for each in open_annotations(tmp_path).videos] == [('0_a_b', 1), ('1_a_b', 2)]


@pytest.mark.parametrize('to', WRITERS)
def test_on_frame_is_called_once_per_pass_and_frame(tmp_path, to):
    calls = []
    convert_annotations(random_videos(disjoint=True), tmp_path / 'out', to, lambda: calls.append(1))
    assert len(calls) == PASSES * 10


def test_ignored_regions_reach_a_bag_and_come_back(tmp_path):
    made = random_videos(ignored=True)
    assert convert_annotations(made, tmp_path / 'bag', 'bag') == []
    for before, after in zip(made.videos, open_annotations(tmp_path / 'bag').videos, strict=True):
        assert [frame.ignored for frame in after] == [frame.ignored for frame in before]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / 'kept').write_text('')
    with pytest.raises(FileExistsError, match='already exists; give a new or empty folder'):
        convert_annotations(random_videos(), tmp_path, 'davis')
    assert os.listdir(tmp_path) == ['kept']
    (tmp_path / 'empty').mkdir()
    convert_annotations(random_videos(), tmp_path / 'empty', 'davis')


def test_nothing_is_left_after_a_failure(tmp_path):
    class Broken(MemoryVideo):
        def __iter__(self):
            yield from itertools.islice(super().__iter__(), 2)
            raise AnnotationError([Problem('file', 'frame 2', 'is bad')])

    made = random_videos(names=('only',))
    made.videos[0] = Broken('only', list(made.videos[0]))
    for to in WRITERS:
        with pytest.raises(AnnotationError, match='file: frame 2: is bad'):
            convert_annotations(made, tmp_path / to, to)
        assert not (tmp_path / to).exists()


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot write the format 'voc'; choose from youtube-vis, coco, davis, mots, "):
        convert_annotations(random_videos(), tmp_path / 'out', 'voc')
