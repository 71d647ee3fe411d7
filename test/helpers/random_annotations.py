"""Random annotated videos for the tests of formats, and the content of a set of videos for comparison."""

import numpy as np

from helpers.annotated_memory import MemoryVideo
from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideos

SIZE = (24, 36)


def random_videos(
    seed=0,
    names=('first', 'second'),
    frames=5,
    objects=4,
    class_names=('car', 'pedestrian'),
    *,
    disjoint=False,
    ignored=False,
    stamps=False,
    scores=False,
    images=False,
    first_id=1,
    size=SIZE,
    has_classes=True,
):
    """Objects are rectangles that come and go. Every id is in one video only, and objects keep their class."""
    random = np.random.default_rng(seed)
    videos = []
    for name in names:
        ids = np.arange(first_id, first_id + objects)
        first_id += objects
        classes = random.integers(0, len(class_names), objects)
        made = [
            _frame(random, index, ids, classes, disjoint, ignored, stamps, scores, images, size)
            for index in range(frames)
        ]
        videos.append(MemoryVideo(name, made))
    return AnnotatedVideos('memory', 'random', tuple(class_names), videos, has_classes)


def _frame(random, index, ids, classes, disjoint, ignored, stamps, scores, images, size):
    void = rectangle(random, size) if ignored else np.zeros(size, bool)
    taken = void.copy()
    visible, masks = [], []
    for position in range(len(ids)):
        mask = rectangle(random, size)
        if disjoint:
            mask &= ~taken
            taken |= mask
        if mask.any() and random.random() < 0.8:
            visible.append(position)
            masks.append(mask)
    image = random.integers(0, 256, (*size, 3), np.uint8)
    return AnnotatedFrame(
        name=f'{index:05d}',
        index=index,
        stamp_ns=1_700_000_000_000_000_001 + 33_333_333 * index if stamps else None,
        size=size,
        track_ids=ids[visible],
        class_ids=classes[visible],
        scores=np.round(random.random(len(visible)), 6) if scores else np.ones(len(visible)),
        masks=[encode(mask) for mask in masks],
        ignored=encode(void) if void.any() else None,
        read_image=(lambda: image) if images else None,
    )


def rectangle(random, size):
    mask = np.zeros(size, bool)
    y, x = random.integers(0, size[0] - 2), random.integers(0, size[1] - 2)
    mask[y : y + random.integers(1, size[0]), x : x + random.integers(1, size[1])] = True
    return mask


def content(videos, *, ids=True, classes=True, scores=True, stamps=True, names=False, ignored=True):
    """The content of a set of videos as plain values for comparison, without what a format cannot hold."""
    return {
        video.name: [
            (
                frame.index,
                frame.size,
                frame.name if names else None,
                frame.stamp_ns if stamps else None,
                decode(frame.ignored).tolist() if ignored and frame.ignored is not None else None,
                sorted(
                    (
                        int(frame.track_ids[k]) if ids else None,
                        videos.class_names[frame.class_ids[k]] if classes else None,
                        float(frame.scores[k]) if scores else None,
                        decode(frame.masks[k]).tolist(),
                    )
                    for k in range(len(frame))
                ),
            )
            for frame in video
        ]
        for video in videos.videos
    }
