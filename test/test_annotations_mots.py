"""MOTS text: round trips, TrackEval as an independent reader, frame numbers, and every fault of a line."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import trackeval
from helpers.annotated_memory import frame, video, videos
from helpers.random_annotations import content, random_videos
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.mots import class_numbers, read_mots, write_mots
from vis_ros.datasets.problems import AnnotationError

HELD = {'stamps': False, 'scores': False}


def line(number, identity, *, class_number=None, box=(0, 0, 3, 3), size=(6, 8)):
    mask = np.zeros(size, np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    code = encode(mask)['counts'].decode()
    return (
        f'{number} {identity} {identity // 1000 if class_number is None else class_number} {size[0]} {size[1]} {code}\n'
    )


def written(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(lines))
    return path


def names(read):
    return [[each.name for each in one] for one in read.videos]


@pytest.mark.parametrize('seed', range(3))
def test_what_is_written_is_read(tmp_path, seed):
    made = random_videos(seed, disjoint=True, ignored=True, frames=8, images=True)
    losses = write_mots(made, tmp_path)
    assert losses == ['ids of 8 of 8 objects (they got new ones)']
    read = read_mots(tmp_path)
    assert content(read, ids=False, **HELD) == content(made, ids=False, **HELD)
    assert read.class_names == ('car', 'pedestrian') and read.kind == 'MOTS text'
    for mine, its in zip(made.videos, read.videos, strict=True):
        of = {}
        for a, b in zip(mine, its, strict=True):
            masks = {decode(mask).tobytes(): number for number, mask in zip(b.track_ids.tolist(), b.masks, strict=True)}
            for number, mask in zip(a.track_ids.tolist(), a.masks, strict=True):
                assert of.setdefault(number, masks[decode(mask).tobytes()]) == masks[decode(mask).tobytes()]
            assert b.read_image().shape == (24, 36, 3)
    assert write_mots(read, tmp_path / 'again') == []
    for file in (tmp_path / 'instances_txt').iterdir():
        assert (tmp_path / 'again' / 'instances_txt' / file.name).read_bytes() == file.read_bytes()


def test_trackeval_reads_the_text(tmp_path):
    made = random_videos(1, disjoint=True, ignored=True, frames=7)
    results = random_videos(2, disjoint=True, frames=7)
    write_mots(made, tmp_path / 'truth')
    write_mots(results, tmp_path / 'trackers' / 'ours')
    dataset = trackeval.datasets.KittiMOTS(
        {
            'GT_FOLDER': str(tmp_path / 'truth'),
            'GT_LOC_FORMAT': '{gt_folder}/instances_txt/{seq}.txt',
            'TRACKERS_FOLDER': str(tmp_path / 'trackers'),
            'TRACKER_SUB_FOLDER': 'instances_txt',
            'SEQ_INFO': {'first': 7, 'second': 7},
            'PRINT_CONFIG': False,
        }
    )
    for name in ('first', 'second'):
        raw = dataset.get_raw_seq_data('ours', name)
        for key, folder in (('gt', 'truth'), ('tracker', 'trackers/ours')):
            (read,) = [each for each in read_mots(tmp_path / folder).videos if each.name == name]
            for index, mine in enumerate(read):
                order = np.argsort(raw[f'{key}_ids'][index])
                assert raw[f'{key}_ids'][index][order].tolist() == mine.track_ids.tolist()
                assert (raw[f'{key}_classes'][index][order] - 1).tolist() == mine.class_ids.tolist()
                for position, mask in zip(order, mine.masks, strict=True):
                    assert (coco.decode(raw[f'{key}_dets'][index][position]) == decode(mask)).all()
                if key == 'gt' and mine.ignored is not None:
                    assert (coco.decode(raw['gt_ignore_region'][index]) == decode(mine.ignored)).all()


def test_lines_may_come_in_any_order_and_gaps_are_frames_without_objects(tmp_path):
    path = written(
        tmp_path / '0002.txt', line(3, 2001), line(0, 1001), '\n', line(3, 1004, box=(4, 0, 6, 2)), line(1, 10000)
    )
    read = read_mots(path)
    (only,) = read.videos
    assert only.name == '0002' and only.length == 4
    assert [each.track_ids.tolist() for each in only] == [[1001], [], [], [1004, 2001]]
    assert [[read.class_names[k] for k in each.class_ids] for each in only] == [['car'], [], [], ['car', 'pedestrian']]
    assert [each.ignored is not None for each in only] == [False, True, False, False]
    assert {each.size for each in only} == {(6, 8)} and {score for each in only for score in each.scores} == {1.0}


def test_ids_that_contain_their_class_are_kept(tmp_path):
    lines = [line(0, 1001), line(0, 1005, box=(4, 0, 6, 2)), line(0, 7, class_number=1, box=(4, 3, 6, 6))]
    made = read_mots(written(tmp_path / 'a.txt', *lines))
    assert write_mots(made, tmp_path / 'out') == ['ids of 1 of 3 objects (they got new ones)']
    assert [each.track_ids.tolist() for each in read_mots(tmp_path / 'out').videos[0]] == [[1001, 1002, 1005]]


def test_ignored_regions_of_a_frame_are_joined_and_other_classes_are_numbered(tmp_path):
    lines = [line(0, 10000), line(0, 10000, box=(5, 0, 8, 3)), line(0, 7005, box=(0, 4, 2, 6))]
    read = read_mots(written(tmp_path / 'a.txt', *lines))
    (only,) = read.videos[0]
    assert decode(only.ignored).sum() == 18
    assert read.class_names == ('car', 'pedestrian', 'class 7') and only.class_ids.tolist() == [2]
    assert class_numbers(read.class_names) == [1, 2, 7]
    assert class_numbers(('bus', 'car', *'abcdefgh')) == [3, 1, 4, 5, 6, 7, 8, 9, 11, 12], '10 is ignored'


def test_empty_masks_are_left_out(tmp_path):
    (only,) = read_mots(written(tmp_path / 'a.txt', line(0, 1001, box=(0, 0, 0, 0)), line(0, 1002))).videos
    assert only.frame(0).track_ids.tolist() == [1002] and only.empty_masks(0) == [1001]


# --- which frames there are -------------------------------------------------------------------------------------------


def test_without_a_length_frames_start_at_0_or_1_and_end_with_the_last_line(tmp_path):
    kitti = read_mots(written(tmp_path / 'kitti.txt', line(0, 1001), line(2, 1001)))
    assert names(kitti) == [['000000', '000001', '000002']]
    assert kitti.kind == 'MOTS text (each video ends with its last line)'
    challenge = read_mots(written(tmp_path / 'challenge.txt', line(2, 1001)))
    assert names(challenge) == [['000001', '000002']]
    written(tmp_path / 'both' / 'a.txt', line(0, 1001))
    written(tmp_path / 'both' / 'b.txt', line(1, 1001))
    assert names(read_mots(tmp_path / 'both')) == [['000000'], ['000000', '000001']], 'one video with frame 0 is enough'


def test_a_seqmap_gives_the_length(tmp_path):
    for name in ('0002', '0006'):
        written(tmp_path / 'instances_txt' / f'{name}.txt', line(1, 1001))
    written(tmp_path / 'evaluate_mots.seqmap.val', '0002 empty 000000 000003\n', 'name\n', '0006 empty 000001 000002\n')
    read = read_mots(tmp_path)
    assert read.kind == 'MOTS text'
    assert names(read) == [['000000', '000001', '000002', '000003'], ['000001', '000002']]
    assert names(read_mots(tmp_path / 'instances_txt' / '0006.txt')) == [['000001', '000002']]
    written(tmp_path / 'instances_txt' / 'deeper' / '0002.txt', line(1, 1001))
    assert names(read_mots(tmp_path / 'instances_txt' / 'deeper')) == [['000001']], 'another set'
    written(tmp_path / 'evaluate_mots.seqmap.test', '0007 empty 000000 000003\n')
    with pytest.raises(AnnotationError, match=r'seqmap\.test: lists the video 0007, which has no text file'):
        read_mots(tmp_path)


def test_seqinfo_gives_the_length_of_motschallenge(tmp_path):
    written(tmp_path / 'MOTS20-02' / 'gt' / 'gt.txt', line(2, 2001))
    written(tmp_path / 'MOTS20-02' / 'seqinfo.ini', '[Sequence]\nname=MOTS20-02\nseqLength=4\n')
    folder = tmp_path / 'MOTS20-02' / 'img1'
    folder.mkdir()
    for number in range(1, 5):
        cv2.imwrite(str(folder / f'{number:06d}.jpg'), np.zeros((6, 8, 3), np.uint8))
    read = read_mots(tmp_path)
    assert [each.name for each in read.videos] == ['MOTS20-02']
    assert names(read) == [['000001', '000002', '000003', '000004']]
    assert all(each.read_image().shape == (6, 8, 3) for each in read.videos[0])


def test_images_give_the_length_and_the_size(tmp_path):
    text = written(tmp_path / '0001.txt', line(2, 2001))
    written(tmp_path / '0002.txt')
    for name in ('0001', '0002'):
        (tmp_path / 'elsewhere' / name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / 'elsewhere' / name / f'{number:06d}.png'), np.zeros((6, 8, 3), np.uint8))
    read = read_mots(tmp_path, images=tmp_path / 'elsewhere')
    assert [len(each) for each in read.videos] == [4, 4] and read.kind == 'MOTS text'
    assert {each.size for one in read.videos for each in one} == {(6, 8)}
    assert len(read_mots(text).videos[0]) == 2, 'frames 1 and 2'


def test_a_video_without_a_line(tmp_path):
    assert [len(each) for each in read_mots(written(tmp_path / 'empty.txt')).videos] == [0]
    written(tmp_path / 'seqmap', 'empty empty 0 3\n')
    with pytest.raises(AnnotationError, match='has no line, so the size of its frames is unknown'):
        read_mots(tmp_path / 'empty.txt')
    written(tmp_path / 'other.txt', line(0, 1001))
    read = {each.name: each for each in read_mots(tmp_path).videos}
    assert [each.size for each in read['empty']] == [(6, 8)] * 4, 'of the others, which all have this size'


# --- faults -----------------------------------------------------------------------------------------------------------


def test_every_bad_line_is_reported(tmp_path):
    good = line(0, 1001)
    path = written(
        tmp_path / 'bad.txt',
        good,
        '0 1002 1 6 8\n',
        'x 1003 -1 6 8.5 0\n',
        line(0, 1001),
        line(1, 1001, size=(8, 6)),
        '1 1002 1 6 8 h\n',
        '1 1002 1 6 8 51\n',
        '1 1002 1 0 8 51\n',
        '1 1002 1 99999 8 51\n',
        'é\n',
        line(1, 10000),
        line(1, 10000),
        line(9, 1001),
        line(10**9, 1001),
    )
    written(tmp_path / 'seqmap', 'bad empty 0 8\n', 'other empty 0 x\n')
    with pytest.raises(AnnotationError) as caught:
        read_mots(path)
    least = 'expected an integer of at least'
    assert [(each.file, each.record, each.what) for each in caught.value.problems] == [
        (str(path), 'line 2', 'has 5 fields, expected 6: frame id class height width rle'),
        (str(path), 'line 3', f"frame is 'x', {least} 0"),
        (str(path), 'line 3', f"class is '-1', {least} 0"),
        (str(path), 'line 3', f"width is '8.5', {least} 1"),
        (str(path), 'line 4', 'frame 0 already has the id 1001 in line 1'),
        (str(path), 'line 5', 'height and width are (8, 6), but in the lines before (6, 8)'),
        (str(path), 'line 6', "compressed run lengths 'h': it breaks off in the middle of a run length"),
        (str(path), 'line 7', 'run lengths sum to 6, but the image has 6 x 8 = 48 pixels'),
        (str(path), 'line 8', f"height is '0', {least} 1"),
        (str(path), 'line 9', 'height 99999 and width 8 exceed the maximum of 32768'),
        (str(path), 'line 10', 'has 1 fields, expected 6: frame id class height width rle'),
        (str(path), 'line 13', 'frame is 9, but the video has frames 0 to 8'),
        (str(path), 'line 14', 'frame is 1000000000, expected at most 9999999'),
        (str(tmp_path / 'seqmap'), 'line 2', "is 'other empty 0 x', expected: name empty first last"),
    ]


def test_an_invalid_seqinfo_is_reported(tmp_path):
    written(tmp_path / 'a' / 'gt' / 'gt.txt', line(2, 2001))
    written(tmp_path / 'a' / 'seqinfo.ini', '[Sequence]\nseqLength=many\n')
    with pytest.raises(AnnotationError, match=r'seqinfo\.ini has no valid seqLength'):
        read_mots(tmp_path)


def test_folders_without_text_are_reported(tmp_path):
    with pytest.raises(AnnotationError, match='contains no MOTS text files'):
        read_mots(tmp_path)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_losses_are_reported_with_counts(tmp_path):
    lower, higher = (0, 0, 6, 4), (4, 0, 10, 4)
    made = videos(
        video(
            [
                frame([(1, lower, 0, 0.4), (2, higher, 1, 0.9)], 0, name='x', stamp_ns=1),
                frame([(1, lower, 1, 0.5)], 1, name='y', stamp_ns=2),
                frame([(1, lower, 0, 0.5), (3, (1, 1, 2, 2), 0, 0.1)], 2, name='z', stamp_ns=3),
            ],
            'a video',
        ),
        class_names=('dog', 'car', 'cat'),
    )
    assert write_mots(made, tmp_path) == [
        'ids of 3 of 3 objects (they got new ones)',
        'class changes of 1 of 3 objects (the most frequent class is kept)',
        'scores of 5 detections',
        'stamps of 3 frames',
        'names of 3 frames (numbered from 0)',
        'overlaps of 9 pixels (given to the higher score, then to the smaller object)',
        '1 mask completely covered by others',
        'class names (dog is 3)',
    ]
    text = (tmp_path / 'instances_txt' / 'a_video.txt').read_text().splitlines()
    assert [each.split()[:5] for each in text] == [
        ['0', '1001', '1', '20', '30'],
        ['0', '3001', '3', '20', '30'],
        ['1', '3001', '3', '20', '30'],
        ['2', '3001', '3', '20', '30'],
    ]
    assert (tmp_path / 'evaluate_mots.seqmap').read_text() == 'a_video empty 000000 000002\n'


def test_objects_win_over_an_ignored_region(tmp_path):
    made = videos(
        video(
            [
                frame([(1001, (0, 0, 4, 4))], ignored=(2, 2, 8, 8)),
                frame([(1001, (3, 3, 5, 5))], 1, ignored=(3, 3, 5, 5)),
            ]
        )
    )
    write_mots(made, tmp_path)
    first, second = read_mots(tmp_path).videos[0]
    assert decode(first.masks[0]).sum() == 16 and decode(first.ignored).sum() == 36 - 4
    assert decode(second.masks[0]).sum() == 4 and second.ignored is None


@pytest.mark.parametrize(
    ('frame_names', 'expected', 'losses'),
    [
        (['000001', '000002'], ['000001', '000002'], []),
        (['0.png', '1.png'], ['000000', '000001'], []),
        (['000000000139.jpg'], ['000139'], []),
        (
            ['5', '8'],
            ['000005', '000006', '000007', '000008'],
            ['2 missing frame numbers (read as frames without objects, unless there are images)'],
        ),
        (['8', '5'], ['000000', '000001'], ['names of 2 frames (numbered from 0)']),
        (['99999999'], ['000000'], ['names of 1 frame (numbered from 0)']),
        (['a', 'b'], ['000000', '000001'], ['names of 2 frames (numbered from 0)']),
    ],
)
def test_frames_keep_their_numbers(tmp_path, frame_names, expected, losses):
    made = video([frame([(1001, (0, 0, 3, 3))], i, name=name) for i, name in enumerate(frame_names)])
    assert write_mots(videos(made, class_names=('car',)), tmp_path) == losses
    assert names(read_mots(tmp_path)) == [expected]


def test_images_show_which_frame_numbers_exist(tmp_path):
    made = random_videos(frames=2, images=True, disjoint=True)
    frames = [replace(each, name=f'{index * 5}.png') for index, each in enumerate(made.videos[0])]
    write_mots(videos(video(frames)), tmp_path)
    assert names(read_mots(tmp_path)) == [['000000', '000005']]
    assert all(each.read_image is not None for each in read_mots(tmp_path).videos[0])
    (tmp_path / 'images' / 'video' / '000005.jpg').unlink()
    assert [len(each) for each in read_mots(tmp_path).videos] == [6], 'an image is missing'


def test_more_objects_than_numbers_are_refused(tmp_path):
    made = videos(video([[(number + 1, (0, 0, 2, 2)) for number in range(1000)]], 'crowd'))
    with pytest.raises(ValueError, match='video crowd has 1000 objects of one class, but MOTS can hold 999'):
        write_mots(made, tmp_path)
