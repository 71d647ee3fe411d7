"""From the `data` section of a TrainConfig to a Mixture of training pairs, checked before the first step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.networks.model_config import ModelConfig
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composites import CompositeVideos, Video, Videos
from vis_ros.synthetic.davis_sequence import davis_objects
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.object_crop import ObjectSource
from vis_ros.synthetic.scene import SHAPE, SceneVideos
from vis_ros.synthetic.stills import StillVideos
from vis_ros.training.labeled_videos import LabeledVideos
from vis_ros.training.mixture import Mixture
from vis_ros.training.train_config import DataSource, TrainConfig

DAVIS_COPIES = 15
"""Weight of a DAVIS sequence when objects are drawn: it shows one object in many poses, a still image in one."""


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """A source of training videos after it was opened and checked.

    class_names: names of the class ids in its frames.
    report: what had to be left out; empty if nothing was.
    """

    class_names: tuple[str, ...]
    videos: Videos
    report: str = ''


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
    datasets: dict[tuple[str, ...], CocoDataset] = {}
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
    text = ', '.join(_with_close_match(name, known) for name in unknown)
    if config.class_names:
        raise ValueError(f'the data have classes that are not in model class_names: {text}')
    return names, f'the weights do not have {text}: the model gets the {len(names)} classes of the data'


def _with_close_match(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.8)
    return f'{name!r} (they have {close[0]!r})' if close else repr(name)


def open_training_source(
    source: DataSource, size: tuple[int, int], datasets: dict[tuple[str, ...], CocoDataset], console: Console
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
        return TrainingSource(videos.class_names, videos, videos.report())
    key = (source.images, source.annotations, source.classes, source.part)
    if key not in datasets:
        datasets[key] = CocoDataset(source.images, source.annotations, source.classes, source.part)
    dataset = datasets[key]
    report = dataset.report() if dataset.problems else ''
    names = tuple(dataset.class_names)
    if source.kind == 'images':
        return TrainingSource(names, StillVideos(dataset, size, source.composite_config()), report)
    objects: list[ObjectSource] = [*dataset.objects()]
    if source.davis:
        objects += davis_objects(source.davis, names, copies=DAVIS_COPIES)
    return TrainingSource(names, CompositeVideos(dataset, objects, size, source.composite_config()), report)


def read_annotations(source: DataSource) -> AnnotatedVideos:
    """The annotations of a source of kind 'videos'. AnnotationError lists every problem of every record."""
    return open_annotations(source.annotations, images=source.images or None)


def _with_progress(videos: Sequence[AnnotatedVideo], name: str, console: Console) -> Iterable[AnnotatedVideo]:
    return track(videos, f'checking {name}', console=console, transient=True, disable=not console.is_terminal)
