"""Annotated videos in memory, for tests: of masks, or of boxes that are easy to draw by hand."""

import numpy as np

from vis_ros.annotations.rle import encode
from vis_ros.annotations.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos

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
    """Objects are (id, mask) or (id, mask, class id) or (id, mask, class id, score); a mask may be the corners of a box."""
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
    """Of lists of objects, see `frame`, or of frames."""
    return MemoryVideo(
        name, [each if isinstance(each, AnnotatedFrame) else frame(each, i, **keywords) for i, each in enumerate(frames)]
    )


def videos(*videos, source='memory', class_names=('thing',), has_classes=True, settings=None):
    """Of videos, or of one given as its frames."""
    listed = [each if isinstance(each, AnnotatedVideo) else video(each) for each in videos]
    return AnnotatedVideos(source, 'memory', class_names, listed, has_classes, settings or {})
