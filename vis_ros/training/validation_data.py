"""The held-out data of a run: ground truth for each source of its validation, opened before the first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from vis_ros.datasets.video import AnnotatedVideos, Excerpt
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.synthetic_video import SyntheticVideo
from vis_ros.training.labeled_videos import select_videos
from vis_ros.training.train_config import DataSource, Validation
from vis_ros.training.training_data import (
    RelabeledVideos,
    TrainingSource,
    class_names,
    open_images,
    open_training_source,
    read_annotations,
)

RATE = 10.0
"""Frame rate in Hz assumed for videos without stamps."""

_NAMES = {'images': 'photos'}


def open_truths(
    validation: Validation, size: tuple[int, int], model_classes: tuple[str, ...] | None = None
) -> dict[str, AnnotatedVideos]:
    """Open the data of each source and decode every image once, so that nothing fails in the middle of a run.

    Args:
        validation: what to open.
        size: (height, width) of synthetic videos.
        model_classes: classes of the model; None takes those of the data.

    Returns:
        name of the source -> ground truth, in the order of the sources. A source is named after its kind ('photos',
        'videos', 'composites', 'scenes'), and numbered if there are several of it.

    Raises:
        ValueError: a frame has no image, or the data have a class that the model does not have.
    """
    kinds = [_NAMES.get(source.kind, source.kind) for source in validation.data]
    uses, seen, truths = Counter(kinds), Counter[str](), {}
    for kind, source in zip(kinds, validation.data, strict=True):
        seen[kind] += 1
        name = kind if uses[kind] == 1 else f'{kind} {seen[kind]}'
        truths[name] = _open(source, validation, size, model_classes)
    return truths


def _open(
    source: DataSource, validation: Validation, size: tuple[int, int], model_classes: tuple[str, ...] | None
) -> AnnotatedVideos:
    if source.kind == 'videos':
        return _labeled_videos(source, validation)
    if source.kind == 'images':
        return _photos(source, validation, model_classes)
    opened = open_training_source(source, size, {}, Console(quiet=True))
    names = _common_classes(opened, model_classes)
    renamed = RelabeledVideos(opened, names)
    seeds = range(validation.seed, validation.seed + validation.videos)
    synthetic = [SyntheticVideo(f'{seed}', renamed.video(seed).frame, validation.frames, RATE) for seed in seeds]
    return AnnotatedVideos(f'{source.kind} of seed {validation.seed}', 'synthetic videos', names, synthetic)


def _labeled_videos(source: DataSource, validation: Validation) -> AnnotatedVideos:
    videos = read_annotations(source)
    chosen = select_videos(videos, source.only)[: validation.videos]
    excerpts = [Excerpt(video, 0, validation.frames) for video in chosen]
    for excerpt in excerpts:
        for frame in excerpt:
            if frame.read_image is None:
                raise ValueError(f'validation: {videos.source}: {excerpt.name} frame {frame.name} has no image')
            frame.read_image()
    return replace(videos, videos=excerpts, labels='partial' if source.exhaustive is False else videos.labels)


def _photos(source: DataSource, validation: Validation, model_classes: Sequence[str] | None) -> AnnotatedVideos:
    """Photos of a COCO file; where there are more than `validation.photos`, evenly spaced ones."""
    dataset = open_images(source, {})
    opened = TrainingSource(class_names(dataset.class_names, source.classes, source.annotations), _Photos(dataset))
    names = _common_classes(opened, model_classes)
    renamed = RelabeledVideos(opened, names)
    count = min(len(dataset), validation.photos)
    chosen = [number * len(dataset) // count for number in range(count)]
    # By number, because files of one name may be in several folders.
    photos = [
        SyntheticVideo(f'{number} {dataset.images[number].path.stem}', renamed.video(number).frame, 1, RATE)
        for number in chosen
    ]
    opened_photos = AnnotatedVideos(source.annotations, 'COCO JSON', names, photos, of_photos=True)
    return replace(opened_photos, labels='partial') if source.exhaustive is False else opened_photos


def _common_classes(opened: TrainingSource, model_classes: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(model_classes or dict.fromkeys(opened.class_names))
    unknown = [name for name in dict.fromkeys(opened.class_names) if name not in names]
    if unknown:
        raise ValueError(f'the validation data have classes that the model does not have: {", ".join(unknown)}')
    return names


class _Photos:
    """Each image of a data set as a video of one frame; the seed is its number."""

    def __init__(self, dataset: CocoDataset) -> None:
        self._dataset = dataset

    def video(self, seed: int) -> _HeldOutPhoto:
        return _HeldOutPhoto(self._dataset, seed)


class _HeldOutPhoto:
    length = 1

    def __init__(self, dataset: CocoDataset, number: int) -> None:
        self._dataset, self._number = dataset, number

    def frame(self, time: int) -> LabeledFrame:
        return self._dataset.frame(self._number)
