"""What happens to results and ground truth before they are evaluated: photos, class names, the frames of DAVIS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vis_ros.datasets.photos import as_photos
from vis_ros.datasets.video import AnnotatedVideos, Excerpt, renumber_epochs
from vis_ros.evaluation.class_map import map_classes

_TRACKED = (
    'the photos were tracked as a video: the class of an object may come from another photo; replay them with --photos'
)


@dataclass(frozen=True)
class Preparation:
    """What to do before.

    photos: whether the frames are photos, matched by file name; None: if the ground truth is photos or the results were
        replayed as photos.
    class_map: see `map_classes`.
    davis_protocol: leave out the first and the last frame of each video, as DAVIS does.
    """

    photos: bool | None = None
    class_map: Mapping[str, str] | None = None
    davis_protocol: bool = False

    def apply(self, results: AnnotatedVideos, truth: AnnotatedVideos) -> tuple[AnnotatedVideos, AnnotatedVideos]:
        """Both sides as `evaluate` takes them, with remarks on what was done."""
        results, truth = _as_photos(results, truth, self.photos)
        if self.davis_protocol:
            inner = [Excerpt(video, 1, len(video) - 1) for video in truth.videos]
            remark = 'the first and the last frame of each video are not scored (--davis-protocol)'
            truth = _with_remark(replace(truth, videos=inner), remark)
        return map_classes(results, truth, self.class_map)


def _as_photos(
    results: AnnotatedVideos, truth: AnnotatedVideos, photos: bool | None
) -> tuple[AnnotatedVideos, AnnotatedVideos]:
    made_of_photos = bool(results.settings.get('photos'))
    if photos is None:
        photos = truth.of_photos or made_of_photos
        why = 'the ground truth is photos' if truth.of_photos else 'the results were made of photos'
        truth = _with_remark(truth, f'photos, because {why} (--video if not)') if photos else truth
    if not photos:
        return renumber_epochs(results), replace(truth, of_photos=False)
    was_tracked = not made_of_photos and any(len(video) > 1 for video in results.videos)
    results = _with_remark(results, _TRACKED) if was_tracked else results
    return as_photos(results), as_photos(truth)


def _with_remark(videos: AnnotatedVideos, remark: str) -> AnnotatedVideos:
    return replace(videos, remarks=(*videos.remarks, remark))
