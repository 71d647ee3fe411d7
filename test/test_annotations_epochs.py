"""Epochs are renumbered in order of appearance; everything else is unchanged."""

import numpy as np

from vis_ros.datasets.coco_rle import encode
from vis_ros.datasets.video import EPOCH, AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, renumber_epochs


class Video(AnnotatedVideo):
    def __init__(self, name, *ids):
        super().__init__(name, len(ids))
        self._ids = ids

    def __iter__(self):
        mask = encode(np.ones((2, 3), np.uint8))
        for index, ids in enumerate(self._ids):
            count = len(ids)
            yield AnnotatedFrame(
                f'{index}',
                index,
                None,
                (2, 3),
                np.array(ids, np.int64),
                np.zeros(count),
                np.ones(count),
                [mask] * count,
            )


def test_epochs_of_each_video_are_numbered_from_0():
    clock = 1_800_000_000  # a node derives its first epoch from the clock
    first = Video('a', [clock * EPOCH + 7, clock * EPOCH + 1], [], [(clock + 1) * EPOCH + 1], [clock * EPOCH + 7])
    second = Video('b', [5, 3 * EPOCH + 5])
    videos = AnnotatedVideos('source', 'bag', ('thing',), [first, second])
    counted = renumber_epochs(videos)
    for _ in range(2):  # a video can be read more than once
        ids = [[frame.track_ids.tolist() for frame in video] for video in counted.videos]
        assert ids == [[[7, 1], [], [EPOCH + 1], [7]], [[5, EPOCH + 5]]]
    assert [(video.name, len(video)) for video in counted.videos] == [('a', 4), ('b', 1)]
    assert (counted.source, counted.kind, counted.class_names) == ('source', 'bag', ('thing',))
    (frame, *_), (same, *_) = counted.videos[0], videos.videos[0]
    assert frame.masks == same.masks and frame.track_ids.dtype == np.int64


def test_formats_without_epochs_are_unchanged():
    videos = AnnotatedVideos('source', 'MOTS text', ('thing',), [Video('a', [EPOCH + 5])])
    assert renumber_epochs(videos) is videos
