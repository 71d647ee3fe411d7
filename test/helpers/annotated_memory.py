"""Annotated videos in memory, made of masks or of boxes."""

import numpy as np

from vis_ros.datasets.coco_rle import encode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, measure, without_ignored_pixels

SIZE = (20, 30)


class MemoryVideo(AnnotatedVideo):
    def __init__(self, name, frames):
        super().__init__(name, len(frames))
        self._frames = list(frames)

    def __iter__(self):
        return iter(self._frames)


def box(x0, y0, x1, y1, size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def frame(objects, index=0, *, name=None, stamp_ns=None, size=SIZE, ignored=None):
    """Objects are (id, mask), (id, mask, class id) or (id, mask, class id, score); a mask may be corners of a box."""
    columns = [(*each, 0, 1.0)[:4] if len(each) == 2 else (*each, 1.0)[:4] for each in objects]
    masks = [encode(mask if isinstance(mask, np.ndarray) else box(*mask, size)) for _, mask, *_ in columns]
    return AnnotatedFrame(
        name=f'{index:05d}' if name is None else name,
        index=index,
        stamp_ns=stamp_ns,
        size=size,
        track_ids=[each[0] for each in columns],
        class_ids=[each[2] for each in columns],
        scores=[each[3] for each in columns],
        masks=masks,
        ignored=None if ignored is None else encode(box(*ignored, size) if isinstance(ignored, tuple) else ignored),
    )


def video(frames, name='video', **keywords):
    """A video of frames, or of lists of objects (see `frame`)."""
    masks = [mask for objects in frames if isinstance(objects, list) for _, mask, *_ in objects]
    keywords.setdefault('size', next((mask.shape for mask in masks if isinstance(mask, np.ndarray)), SIZE))
    whole = [each if isinstance(each, AnnotatedFrame) else frame(each, i, **keywords) for i, each in enumerate(frames)]
    return MemoryVideo(name, whole)


def videos(*videos, source='memory', class_names=('thing', 'other'), has_classes=True, settings=None):
    """A set of videos, or of one video given as its frames."""
    listed = [each if isinstance(each, AnnotatedVideo) else video(each) for each in videos]
    return AnnotatedVideos(source, 'memory', class_names, listed, has_classes, settings or {})


def random_pair(seed, *, length=12, size=SIZE, always_visible=False):
    """Ground truth and results of one video, as lists of objects: boxes that move, leave and come back, and a tracker
    with every kind of error: holes, misses, identity switches, overlapping masks and false positives.
    """
    random = np.random.default_rng(seed)
    height, width = size
    count = int(random.integers(1, 5))
    corners = np.stack([random.integers(0, width - 8, count), random.integers(0, height - 8, count)], 1)
    extents = random.integers(4, 9, (count, 2))
    classes, identities = random.integers(0, 2, count), np.arange(count) + 10
    truth, results = [], []
    for _ in range(length):
        corners = np.clip(corners + random.integers(-2, 3, (count, 2)), 0, [width - 8, height - 8])
        shown = random.random(count) < (1.0 if always_visible else 0.8)
        boxes = [box(*corner, *(corner + extent), size) for corner, extent in zip(corners, extents, strict=True)]
        truth.append([(number + 1, boxes[number], int(classes[number])) for number in np.flatnonzero(shown).tolist()])
        if random.random() < 0.25:
            identities[random.integers(count)] = identities.max() + 1
        if random.random() < 0.2:
            identities = random.permutation(identities)
        found = []
        for number in np.flatnonzero(random.random(count) < 0.85).tolist():
            mask = boxes[number] & (random.random(size) < random.choice([1.0, 0.9, 0.6])).astype(np.uint8)
            if random.random() < 0.1 or not mask.any():
                mask = box(0, 0, *random.integers(1, 15, 2), size)
            found.append((int(identities[number]), mask, int(random.integers(0, 2)), float(random.random())))
        if random.random() < 0.3:
            found.append((5, box(0, 0, *random.integers(1, 15, 2), size), 1, float(random.random())))
        results.append(found)
    return truth, results


def overlaps(truth, results):
    """The `VideoOverlaps` of one video."""
    pairs = list(zip(video(truth), video(results), strict=True))
    frames = [measure(position, *both) for position, both in enumerate(pairs)]
    seen = [measure(position, *without_ignored_pixels(*both)) for position, both in enumerate(pairs)]
    return VideoOverlaps(len(frames), frames, seen)
