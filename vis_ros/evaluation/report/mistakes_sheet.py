"""The photos with the most mistakes on one contact sheet, sorted by what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vis_ros.datasets.coco_rle import Rle, decode
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.evaluation.alignment import pair_videos
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.evaluation.metrics.mask_overlaps import MATCH_IOU, measure
from vis_ros.visualization import contact_sheet

KINDS = ('missed', 'wrong class', 'false')
"""What can go wrong, in the order of the sheet."""

_PHOTOS_OF_KIND = 8
_COLORS = {'missed': (66, 228, 240), 'wrong class': (167, 121, 204), 'false': (0, 94, 213), 'found': (255, 255, 255)}
"""BGR, of Okabe and Ito: they can be told apart whatever colors a person sees."""
_JPEG_QUALITY = 80
_CAPTION_NAME = 14
"""Last characters of the name of a photo in its caption."""
_REFERENCE_SIDE = 640

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoMistakes:
    """The mistakes in a photo, by kind, at a mask IoU of MATCH_IOU."""

    name: str
    counts: dict[str, int]

    @property
    def kind(self) -> str:
        """What went wrong most often."""
        return max(KINDS, key=lambda kind: self.counts[kind])

    def __str__(self) -> str:
        """Short enough for a caption."""
        name = self.name.lstrip('0')[-_CAPTION_NAME:]
        return f'{name}: ' + ', '.join(f'{count} {kind.split()[0]}' for kind, count in self.counts.items() if count)


def photo_mistakes(evaluation: Evaluation) -> list[PhotoMistakes]:
    """The photos with mistakes, by kind, those with the most of it first. Where only some objects are labeled, nothing
    is called false.
    """
    found = []
    for unit in evaluation.units:
        clear = unit.whole.tracking.clear
        same_class = sum(scores.tracking.clear.true_positives for scores in unit.classes.values())
        counts = {
            'missed': clear.truth - clear.true_positives,
            'wrong class': max(0, clear.true_positives - same_class) if unit.classes else 0,
            'false': clear.predictions - clear.true_positives if evaluation.labels == 'exhaustive' else 0,
        }
        if any(counts.values()):
            found.append(PhotoMistakes(unit.name, counts))
    return sorted(found, key=lambda each: (KINDS.index(each.kind), -each.counts[each.kind], each.name))


def mistakes_sheet(evaluation: Evaluation, results: AnnotatedVideos, truth: AnnotatedVideos) -> bytes | None:
    """A JPEG of the photos with the most mistakes of each kind; None without mistakes or images."""
    of_kind = {kind: [each for each in photo_mistakes(evaluation) if each.kind == kind] for kind in KINDS}
    chosen = [each for its in of_kind.values() for each in its[:_PHOTOS_OF_KIND]]
    pairs = {there.name: (there, found) for there, found in pair_videos(results, truth)}
    shown = KINDS if evaluation.labels == 'exhaustive' else KINDS[:-1]
    photos = ((each, _photo(*pairs[each.name], results, truth, shown)) for each in chosen)
    drawn = [(image, str(each)) for each, image in photos if image is not None]
    if not drawn:
        return None
    sheet = contact_sheet([image for image, _ in drawn], captions=[caption for _, caption in drawn])
    written, jpeg = cv2.imencode('.jpg', sheet, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    assert written, 'OpenCV writes JPEG'
    return jpeg.tobytes()


def _photo(
    truth: AnnotatedVideo,
    found: AnnotatedVideo | None,
    results: AnnotatedVideos,
    labeled: AnnotatedVideos,
    mistakes: Sequence[str],
) -> Image | None:
    """A photo with the outlines of what was found and of these kinds of mistakes; None if its image is missing or has
    another size.
    """
    there = next(iter(truth))
    predicted = None if found is None else next(iter(found), None)
    if there.read_image is None:
        return None
    try:
        image = there.read_image()
    except AnnotationError:
        return None
    if image.shape[:2] != tuple(there.size):
        return None
    names = (results.class_names, labeled.class_names) if results.has_classes and labeled.has_classes else None
    canvas = image.copy()
    thickness = max(2, round(3 * max(image.shape[:2]) / _REFERENCE_SIDE))
    for mask, kind in _outlines(there, predicted, names):
        if kind not in ('found', *mistakes):
            continue
        contours, _ = cv2.findContours(decode(mask), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, (0, 0, 0), thickness + 2, cv2.LINE_AA)
        cv2.drawContours(canvas, contours, -1, _COLORS[kind], thickness, cv2.LINE_AA)
    return canvas


def _outlines(
    truth: AnnotatedFrame, found: AnnotatedFrame | None, names: tuple[Sequence[str], Sequence[str]] | None
) -> Iterator[tuple[Rle, str]]:
    """Masks to outline and what they are: predictions, and the objects that were missed."""
    overlaps = measure(0, truth, found)
    allowed = np.where(overlaps.iou >= MATCH_IOU, overlaps.iou, 0.0)
    matched = [pair for pair in zip(*linear_sum_assignment(allowed, maximize=True), strict=True) if allowed[pair]]
    ids = [(overlaps.truth_ids[row], overlaps.result_ids[column]) for row, column in matched]
    object_of = {result: number for number, result in ids}
    classes = dict(zip(truth.track_ids.tolist(), truth.class_ids.tolist(), strict=True))
    if found is not None:
        for number, class_id, mask in zip(found.track_ids.tolist(), found.class_ids.tolist(), found.masks, strict=True):
            if number not in object_of:
                yield mask, 'false'
            elif names and names[0][class_id] != names[1][classes[int(object_of[number])]]:
                yield mask, 'wrong class'
            else:
                yield mask, 'found'
    for number, mask in zip(truth.track_ids.tolist(), truth.masks, strict=True):
        if number not in {each for each, _ in ids}:
            yield mask, 'missed'
