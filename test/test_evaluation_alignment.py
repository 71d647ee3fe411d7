"""Which frame belongs to which, and what is said where there is none."""

import pytest
from helpers.annotated_memory import MemoryVideo, frame, video, videos

from vis_ros.datasets.video_summary import FrameKey, summarize
from vis_ros.evaluation.alignment import align, pair_videos

A = (0, 0, 10, 10)


def frames(names=None, stamps=None, indices=None, count=None):
    count = count or len(names or stamps or indices)
    return MemoryVideo(
        'video',
        [
            frame(
                [(1, A)],
                indices[i] if indices else i,
                name=names[i] if names else f'frame {i}',
                stamp_ns=stamps[i] if stamps else None,
            )
            for i in range(count)
        ],
    )


def aligned(truth, results, **options):
    return align(truth, summarize(truth).frames, results, summarize(results).frames, **options)


def matches(truth, results, **options):
    """('what by', partners), after a check that the pairs are what was announced."""
    alignment = aligned(truth, results, **options)
    there, found = list(truth), list(results)
    expected = [(t, None if p is None else found[p]) for t, p in zip(there, alignment.partners, strict=True)]
    assert list(alignment.pairs()) == [pair for pair in expected if pair[1] or not alignment.common_frames]
    return alignment.matched_by, list(alignment.partners)


def test_by_stamp_before_all_else():
    assert matches(frames(stamps=[10, 20, 30]), frames(stamps=[20, 25, 30])) == ('stamp', [None, 0, 2])


def test_by_name_where_no_stamp_is_shared_or_one_side_has_none():
    assert matches(frames(list('abc'), [1, 2, 3]), frames(list('bcd'), [7, 8, 9])) == ('name', [None, 0, 1])
    assert matches(frames(list('abc'), [1, 2, 3]), frames(list('cb'))) == ('name', [None, 1, 0])


def test_stamps_that_agree_by_chance_do_not_count():
    truth, results = frames(list('abcdef'), [10, 20, 30, 40, 50, 60]), frames(list('abcdef'), [0, 15, 30, 45, 60, 75])
    assert matches(truth, results) == ('name', [0, 1, 2, 3, 4, 5])
    few = matches(frames(list('abcdef'), [10, 20, 30, 40, 50, 60]), frames(list('uvwxyz'), [0, 15, 30, 45, 60, 75]))
    assert few == ('stamp', [None, None, 2, None, None, 4])


def test_frames_with_stamps_are_never_matched_by_position():
    with pytest.raises(ValueError, match='no frame of the results matches the ground truth'):
        aligned(frames(list('ab'), [10, 20]), frames(list('yz'), [11, 21]))


def test_names_compare_without_folder_extension_and_zeros():
    assert matches(frames(['bear/00007.jpg', '00008.png']), frames(['8', '7.jpeg'])) == ('name', [1, 0])
    assert matches(frames(['a.b.png']), frames(['x', 'a.b'])) == ('name', [1])
    assert matches(frames(['0.05', '0.10']), frames(['0.10', '0.2'])) == ('name', [None, 0]), 'no extensions'


def test_by_index_where_nothing_else_is_shared():
    by_index = matches(frames(['a', 'b', 'c']), frames(['x', 'y'], indices=[0, 2]))
    assert by_index == ('position', [0, None, 1]), 'results of every other frame'


def test_the_same_stamp_twice_belongs_to_the_same_stamp_twice():
    assert matches(frames(stamps=[5, 5, 6]), frames(stamps=[5, 6, 5])) == ('stamp', [0, 2, 1])


def test_a_clock_that_was_set_back():
    truth = frames(stamps=[100, 110, 120, 50, 60, 70])
    assert matches(truth, frames(stamps=[100, 120, 50, 70])) == ('stamp', [0, None, 1, 2, None, 3])


def test_frames_without_a_result_may_be_left_out():
    alignment = aligned(frames(stamps=[10, 20, 30]), frames(stamps=[20, 40]), common_frames=True)
    assert (alignment.common, alignment.compared) == (1, 1)
    assert [truth.stamp_ns for truth, _ in alignment.pairs()] == [20]


def test_only_frames_before_their_turn_are_kept():
    read = []

    class Counted(MemoryVideo):
        def __iter__(self):
            for each in super().__iter__():
                read.append(each.index)
                yield each

    truth, results = frames(stamps=[1, 3, 5]), frames(stamps=[1, 2, 3, 4, 5])
    pairs = aligned(truth, Counted('video', list(results))).pairs()
    read.clear()
    next(pairs)
    assert read == [0], 'the results are read as the truth is'
    next(pairs)
    assert read == [0, 1, 2] and not pairs.gi_frame.f_locals['early'], 'no frame of the past is kept'


def test_nothing_in_common_is_an_error_with_examples():
    with pytest.raises(
        ValueError, match=r"(?s)'video': no frame .* results have 5 \(a, 9 ns\), .* has 0 \(b, no stamp\)"
    ):
        aligned(frames(['b']), frames(['a', 'c'], [9, 10], [5, 6]))


def test_images_of_different_sizes_are_an_error_that_names_the_frame():
    truth, results = video([[(1, A)]] * 2), video([frame([(1, A)], i, size=(20, 30 + i)) for i in range(2)])
    with pytest.raises(ValueError, match=r"'video', frame '00001': .*\(20, 30\), the results have \(20, 31\)"):
        list(aligned(truth, results).pairs())


def test_an_empty_side_is_all_missing():
    alignment = aligned(frames(['a', 'b']), MemoryVideo('video', []))
    assert (alignment.partners, alignment.matched_by, alignment.compared) == ((None, None), '', 2)


# --- videos -----------------------------------------------------------------------------------------------------------


def named(*names):
    return videos(*[video([[]], name) for name in names], source=f'the {len(names)}')


def test_videos_by_name():
    pairs = pair_videos(named('b', 'x'), named('a', 'b', 'c'))
    assert [(truth.name, results and results.name) for truth, results in pairs] == [
        ('a', None),
        ('b', 'b'),
        ('c', None),
    ]


def test_one_video_on_each_side_belong_together():
    ((truth, results),) = pair_videos(named('x'), named('a'))
    assert (truth.name, results.name) == ('a', 'x')


def test_no_video_in_common_is_an_error_with_examples():
    with pytest.raises(
        ValueError,
        match=r'the 1 .* the ground truth the 4 .*: the results have x \(1 in total\), .* has a, b, c, \.\.\.',
    ):
        pair_videos(named('x'), named('a', 'b', 'c', 'd'))


# --- summary ----------------------------------------------------------------------------------------------------------


def test_a_track_has_the_class_of_most_of_its_frames_and_the_mean_of_its_scores():
    scored = [[(1, A, 2, 0.25), (9, A, 3, 1.0)], [(1, A, 0, 0.5)], [(1, A, 2, 0.75)], [(9, A, 1, 0.5)]]
    summary = summarize(video(scored))
    assert {number: track.class_id for number, track in summary.tracks.items()} == {1: 2, 9: 1}, 'the lowest of equals'
    assert {number: track.score for number, track in summary.tracks.items()} == {1: 0.5, 9: 0.75}
    assert summary.frames[1] == FrameKey('00001', 1, None)
