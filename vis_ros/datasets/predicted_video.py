"""PredictedVideo: the predictions of a tracker for an annotated video, in the structure that evaluation compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vis_ros.datasets.rle import encode_crop
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo
from vis_ros.instances import Instances


class PredictedVideo(AnnotatedVideo):
    """The tracked instances of the frames of a video, held in memory as run lengths."""

    def __init__(self, name: str, frames: Sequence[AnnotatedFrame]) -> None:
        super().__init__(name, len(frames))
        self._frames = frames

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        return iter(self._frames)


def predicted_frame(frame: AnnotatedFrame, found: Instances) -> AnnotatedFrame:
    """What was found in a frame; instances without a pixel are left out."""
    assert found.track_ids is not None, 'only tracked instances answer'
    shown = np.flatnonzero(found.areas()).tolist()
    return AnnotatedFrame(
        name=frame.name,
        index=frame.index,
        stamp_ns=frame.stamp_ns,
        size=frame.size,
        track_ids=found.track_ids[shown].astype(np.int64),
        class_ids=found.class_ids[shown].astype(np.int64),
        scores=found.scores[shown].astype(np.float64),
        masks=[encode_crop(found.masks[n], found.rois[n].tolist(), frame.size) for n in shown],
    )
