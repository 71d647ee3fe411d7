"""SheetImages: the images of one model on one video for a contact sheet, in the colors of the true objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.evaluation.comparison.candidates import ground_truth, stamp
from vis_ros.evaluation.error_marks import error_marks, mask_iou
from vis_ros.evaluation.metrics.clear import ClearMatching
from vis_ros.images import write_image_file
from vis_ros.instances import LOST, Instances
from vis_ros.visualization import TruthMarks, contact_sheet, draw_overlay, identity_color

_WIDTH = 480
_NO_OBJECT = (150, 150, 150)
"""BGR of tracks that have never covered a true object."""


class SheetImages:
    """Draws a track in the color of the true object that it covers, so that all models show an object in one color.

    Args:
        folder: for the images, <position of the video>_<frame>.jpg.
        position: of the video.
    """

    def __init__(self, folder: Path, position: int) -> None:
        self._folder, self._position = folder, position
        self._matching = ClearMatching()
        self._object_of: dict[int, int] = {}
        self._start: float | None = None

    def add(self, number: int, frame: AnnotatedFrame, image: NDArray[np.uint8], found: Instances, shown: bool) -> None:
        """Match the tracks of the next frame with the true objects, and write the image if it is shown.

        Raises:
            OSError: the image cannot be written.
        """
        truth = ground_truth(frame)
        assert found.track_ids is not None and truth.track_ids is not None
        found = found[np.flatnonzero(np.ones(len(found), bool) if found.states is None else found.states != LOST)]
        assert found.track_ids is not None
        object_ids, track_ids = truth.track_ids.astype(np.int64), found.track_ids.astype(np.int64)
        overlaps = mask_iou(np.array([truth.full_mask(n) for n in range(len(truth))], np.uint8), found)
        rows, columns = self._matching.add(number, object_ids, track_ids, overlaps)
        self._object_of |= dict(zip(track_ids[columns].tolist(), object_ids[rows].tolist(), strict=True))
        seconds = stamp(frame)
        self._start = seconds if self._start is None else self._start
        if shown:
            marks = error_marks(self._matching, number, truth, found, (rows, columns))
            self._write(number, image, found, marks, f'{seconds - self._start:.2f} s')

    def _write(self, number: int, image: NDArray[np.uint8], found: Instances, marks: TruthMarks, caption: str) -> None:
        assert found.track_ids is not None
        objects = [self._object_of.get(track_id) for track_id in found.track_ids.tolist()]
        colors = [_NO_OBJECT if each is None else identity_color(each) for each in objects]
        overlay = draw_overlay(image, found, labels='id', colors=colors, marks=marks)
        path = self._folder / f'{self._position}_{number:05d}.jpg'
        sheet = contact_sheet([overlay], 1, _WIDTH, [f'{caption}  {marks.in_words()}'.rstrip()])
        write_image_file(path, sheet)
