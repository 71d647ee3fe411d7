"""From the `data` section of a TrainConfig to a Mixture of training pairs, checked before the first step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.networks.model_config import ModelConfig
from vis_ros.synthetic.coco_images import CocoDataset, is_coco_instances
from vis_ros.synthetic.composites import CompositeVideos, Video, Videos
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.object_crop import ObjectCrop, ObjectSource
from vis_ros.synthetic.scene import SHAPE, SceneVideos
from vis_ros.synthetic.stills import StillVideos
from vis_ros.synthetic.video_object import VideoObject, video_objects
from vis_ros.training.labeled_videos import LabeledVideos, classes_of_videos, indexed, select_videos
from vis_ros.training.mixture import Mixture
from vis_ros.training.train_config import Classes, CropSource, DataSource, TrainConfig

_LISTED = 10
"""Classes that are named in a message; more are counted."""


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """A source of training videos after it was opened and checked.

    class_names: names of the class ids in its frames.
    report: what had to be left out; empty if nothing was.
    """

    class_names: tuple[str, ...]
    videos: Videos
    report: str = ''


@dataclass(frozen=True, eq=False)
class RelabeledObject:
    """An object to paste with another class id."""

    source: ObjectSource
    class_id: int

    @property
    def extent(self) -> float:
        return self.source.extent

    def crop(self, phase: float) -> ObjectCrop:
        return replace(self.source.crop(phase), class_id=self.class_id)


class RelabeledVideos:
    """The videos of a source with the class ids of another list, which has all of the source's class names."""

    def __init__(self, source: TrainingSource, class_names: Sequence[str]) -> None:
        self._videos = source.videos
        self._class_ids = np.array([list(class_names).index(name) for name in source.class_names], np.int32)

    def video(self, seed: int) -> Video:
        return _RelabeledVideo(self._videos.video(seed), self._class_ids)


class _RelabeledVideo:
    def __init__(self, video: Video, class_ids: NDArray[np.int32]) -> None:
        self.length = video.length
        self._video, self._class_ids = video, class_ids

    def frame(self, time: int) -> LabeledFrame:
        frame = self._video.frame(time)
        return replace(frame, class_ids=self._class_ids[frame.class_ids])


def open_training_sources(
    config: TrainConfig, console: Console, video_size: tuple[int, int] | None = None
) -> list[TrainingSource]:
    """Open every source of the training data and print what had to be left out.

    Args:
        config: of the run.
        console: where reports and progress go.
        video_size: (height, width) that sources of kind 'videos' are resized into; None takes the size in the config.

    Raises:
        ValueError: a source cannot be used.
        FileNotFoundError: a file or folder is missing.
    """
    datasets: dict[tuple[object, ...], CocoDataset] = {}
    sizes = {'videos': video_size or config.size}
    sources = [open_training_source(each, sizes.get(each.kind, config.size), datasets, console) for each in config.data]
    for report in dict.fromkeys(source.report for source in sources if source.report):
        console.print(report, markup=False, highlight=False, soft_wrap=True)
    return sources


def build_mixture(sources: Sequence[TrainingSource], config: TrainConfig, class_names: Sequence[str]) -> Mixture:
    """The mixture of all sources by their weights, with the class ids of the model."""
    weighted = zip(config.data, sources, strict=True)
    return Mixture([(each.weight, RelabeledVideos(source, class_names)) for each, source in weighted], config.seed)


def model_classes(config: TrainConfig, sources: Sequence[TrainingSource]) -> tuple[tuple[str, ...], str]:
    """The classes of the model (see TrainConfig.class_names).

    Returns:
        the class names, and a note if the classes of the weights could not be kept; otherwise an empty text.

    Raises:
        ValueError: the config lists the classes, and the data have others.
    """
    names = tuple(dict.fromkeys(name for source in sources for name in source.class_names))
    assert isinstance(config.model, ModelConfig)
    known = config.class_names or (config.model.class_names if config.weights else names)
    unknown = [name for name in names if name not in known]
    if not unknown:
        return known, ''
    listed = [_with_close_match(name, known) for name in unknown]
    more = f' and {len(listed) - _LISTED} more' if len(listed) > _LISTED else ''
    text = ', '.join(listed[:_LISTED]) + more
    if config.class_names:
        raise ValueError(f'the data have classes that are not in model class_names: {text}')
    return names, f'the weights do not have {text}: the model gets the {len(names)} classes of the data'


def _with_close_match(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.8)
    return f'{name!r} (they have {close[0]!r})' if close else repr(name)


def open_training_source(
    source: DataSource, size: tuple[int, int], datasets: dict[tuple[object, ...], CocoDataset], console: Console
) -> TrainingSource:
    """Open one source of training data.

    Args:
        source: what to open.
        size: (height, width) of the frames.
        datasets: image sets that are open already; sources that use the same one share it.
        console: where progress goes.

    Raises:
        ValueError: the source cannot be used.
        FileNotFoundError: a file or folder is missing.
    """
    if source.kind == 'scenes':
        return TrainingSource((SHAPE,), SceneVideos(size, 0))
    if source.kind == 'videos':
        videos = LabeledVideos(
            read_annotations(source),
            size,
            only=source.only,
            object_class=source.object_class,
            exhaustive=source.exhaustive,
            progress=lambda found: _with_progress(found, source.annotations, console),
        )
        names = class_names(videos.class_names, source.classes, source.annotations)
        return TrainingSource(names, videos, videos.report())
    dataset = open_images(source, datasets)
    report = dataset.report() if dataset.problems else ''
    names = class_names(dataset.class_names, source.classes, source.annotations)
    if source.kind == 'images':
        return TrainingSource(names, StillVideos(dataset, size, source.composite_config()), report)
    objects: list[ObjectSource] = []
    for found, own in (dataset.objects(), names), *(_open_crops(crops, datasets) for crops in source.crops):
        names = (*names, *(name for name in dict.fromkeys(own) if name not in names))
        # Several categories can be one class: all have its first id, so that `class_balance` draws classes.
        objects += [RelabeledObject(each, names.index(own[each.class_id])) for each in found]
    return TrainingSource(names, CompositeVideos(dataset, objects, size, source.composite_config()), report)


def open_images(source: DataSource | CropSource, datasets: dict[tuple[object, ...], CocoDataset]) -> CocoDataset:
    """The images of a source of kind 'composites', 'images' or of crops. `datasets` are those that are open already."""
    classes = source.classes if isinstance(source.classes, str) else 'categories'
    rest: tuple[Any, ...] = ('all', True, '')
    if isinstance(source, DataSource):
        rest = source.part, source.exhaustive is not False, source.ignored_boxes
    key = (source.images, source.annotations, classes, *rest)
    if key not in datasets:
        datasets[key] = CocoDataset(source.images, source.annotations, classes, *rest)
    return datasets[key]


def class_names(categories: Sequence[str], classes: Classes, where: str) -> tuple[str, ...]:
    """The class of each category for DataSource.classes. ValueError if the mapping has none for a category."""
    if isinstance(classes, str):
        return tuple(categories)
    class_of = {category: name for name, listed in classes.items() for category in listed}
    rest = next((name for name, listed in classes.items() if not listed), None)
    missing = [category for category in categories if category not in class_of]
    if missing and rest is None:
        raise ValueError(
            f'classes has no class for {", ".join(map(repr, missing))} of {where}: list them, or add a class with an '
            'empty list, such as object: []'
        )
    return tuple(class_of.get(category, rest or '') for category in categories)


def _open_crops(
    source: CropSource, datasets: dict[tuple[object, ...], CocoDataset]
) -> tuple[Sequence[ObjectSource], tuple[str, ...]]:
    """The objects of a source of crops, as often as it says, and the class names of their ids."""
    found: Sequence[ObjectSource]
    if source.images and is_coco_instances(source.annotations):
        dataset = open_images(source, datasets)
        found, own = dataset.objects(), class_names(dataset.class_names, source.classes, source.annotations)
    else:
        found, own = _moving_objects(source)
    return [each for each in found for _ in range(source.copies)], own


def _moving_objects(source: CropSource) -> tuple[list[VideoObject], tuple[str, ...]]:
    """The objects of annotated videos, and the class names of their ids."""
    videos = open_annotations(source.annotations, images=source.images or None)
    chosen = select_videos(videos, source.only)
    class_of = classes_of_videos(videos, chosen, source.object_class)
    own = tuple(dict.fromkeys(class_of.values())) or class_names(videos.class_names, source.classes, videos.source)
    pairs = [(indexed(video, videos), own.index(class_of[video.name]) if class_of else None) for video in chosen]
    return video_objects(pairs), own


def read_annotations(source: DataSource) -> AnnotatedVideos:
    """The annotations of a source of kind 'videos'. AnnotationError lists every problem of every record."""
    return open_annotations(source.annotations, images=source.images or None)


def _with_progress(videos: Sequence[AnnotatedVideo], name: str, console: Console) -> Iterable[AnnotatedVideo]:
    return track(videos, f'checking {name}', console=console, transient=True, disable=not console.is_terminal)
