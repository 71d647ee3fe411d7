"""What gets lost when videos are written in a format that cannot hold everything: counted, and shown at the end.

The largest loss of DAVIS images and MOTS text are overlaps: they give each pixel to one object, see `disjoint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vis_ros.datasets.coco_rle import Rle, areas, decode, encode
from vis_ros.datasets.problems import plural
from vis_ros.datasets.segmentation import union
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.datasets.video_summary import VideoSummary


@dataclass
class ConversionLosses:
    """Counts over all videos. A writer only counts what its format loses.

    Attributes:
        objects: number of objects, for comparison.
        new_ids: objects that got a new id.
        class_changes: objects whose class changes over time.
        classes: objects without their class label.
        scores: scores of single detections.
        stamps, frame_names: frames without their stamp, without their name.
        overlaps: pixels of overlapping masks.
        hidden: masks without a pixel left, because others cover them.
        others: further losses, in words.
    """

    objects: int = 0
    new_ids: int = 0
    class_changes: int = 0
    classes: int = 0
    scores: int = 0
    stamps: int = 0
    frame_names: int = 0
    overlaps: int = 0
    hidden: int = 0
    others: list[str] = field(default_factory=list)

    def count_objects(self, summary: VideoSummary) -> None:
        """Add the objects of a video, and those that change their class."""
        self.objects += len(summary.tracks)
        self.class_changes += sum(len(track.votes) > 1 for track in summary.tracks.values())

    def count_overlaps(self, parts: Disjoint) -> None:
        """Add the pixels and masks that a frame lost to overlaps."""
        self.overlaps += parts.lost_pixels
        self.hidden += parts.hidden

    def in_words(self) -> list[str]:
        """One text for each kind of loss that occurred."""
        objects = plural(self.objects, 'object')
        texts = [
            (self.classes, f'classes of {plural(self.classes, "object")}'),
            (self.new_ids, f'ids of {self.new_ids} of {objects} (they got new ones)'),
            (
                self.class_changes,
                f'class changes of {self.class_changes} of {objects} (the most frequent class is kept)',
            ),
            (self.scores, f'scores of {plural(self.scores, "detection")}'),
            (self.stamps, f'stamps of {plural(self.stamps, "frame")}'),
            (self.frame_names, f'names of {plural(self.frame_names, "frame")} (numbered from 0)'),
            (
                self.overlaps,
                f'overlaps of {plural(self.overlaps, "pixel")} (given to the higher score, then to the smaller object)',
            ),
            (self.hidden, f'{plural(self.hidden, "mask")} completely covered by others'),
        ]
        return [text for count, text in texts if count] + self.others


@dataclass(frozen=True)
class Disjoint:
    """The masks of a frame without overlaps.

    Attributes:
        masks: in the order of the frame.
        ignored: the ignored region without the objects.
        lost_pixels: number of pixels that objects lost to other objects.
    """

    masks: Sequence[Rle]
    ignored: Rle | None
    lost_pixels: int

    @property
    def hidden(self) -> int:
        """Number of masks without a pixel."""
        return int((areas(self.masks) == 0).sum()) if self.masks else 0


def overlapping_pixels(frame: AnnotatedFrame) -> int:
    """Sum of the areas of all masks and the ignored region of a frame, minus the area of their union."""
    masks = [*frame.masks, *([] if frame.ignored is None else [frame.ignored])]
    return int(areas(masks).sum() - areas([union(masks)])[0]) if masks else 0


def disjoint(frame: AnnotatedFrame) -> Disjoint:
    """Give each pixel to the object with the highest score; then to the smaller one, then to the lower id.

    Objects win over the ignored region.
    """
    if not overlapping_pixels(frame):
        return Disjoint(frame.masks, frame.ignored, 0)
    sizes = areas(frame.masks) if frame.masks else np.zeros(0, np.int64)
    ranking = np.lexsort((frame.track_ids, sizes, -frame.scores))
    owner = np.full(frame.size, -1, np.int32, order='F')  # the order of run lengths
    if frame.ignored is not None:
        owner[decode(frame.ignored) > 0] = len(frame)
    for position in reversed(ranking.tolist()):
        owner[decode(frame.masks[position]) > 0] = position
    masks = [encode(owner == position) for position in range(len(frame))]
    ignored = None if frame.ignored is None else encode(owner == len(frame))
    return Disjoint(masks, ignored, int(sizes.sum() - areas(masks).sum()) if masks else 0)
