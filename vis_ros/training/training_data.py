"""From the data section of a TrainConfig to a Mixture, everything checked before the first step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.progress import track

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.networks.model_config import ModelConfig
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composites import CompositeVideos, Video, Videos
from vis_ros.synthetic.davis_sequence import davis_objects
from vis_ros.synthetic.labelled_frame import LabelledFrame
from vis_ros.synthetic.object_crop import ObjectSource
from vis_ros.synthetic.scene import SHAPE, SceneVideos
from vis_ros.synthetic.stills import StillVideos
from vis_ros.training.frame_videos import FrameVideos
from vis_ros.training.mixture import Mixture
from vis_ros.training.train_config import DataSource, TrainConfig

DAVIS_COPIES = 15
"""A DAVIS sequence shows one object in many poses: it is drawn so many times as often as one cut-out of an image."""


@dataclass(frozen=True, eq=False)
class OpenSource:
    """A source that was opened and checked. class_names: of the class ids in its frames; report: what was left out."""

    class_names: tuple[str, ...]
    videos: Videos
    report: str = ''


class Renamed:
    """Videos whose class ids are those of another list that has all of its names."""

    def __init__(self, source: OpenSource, class_names: Sequence[str]) -> None:
        self._videos = source.videos
        self._class_ids = np.array([list(class_names).index(name) for name in source.class_names], np.int32)

    def video(self, seed: int) -> Video:
        return _RenamedVideo(self._videos.video(seed), self._class_ids)


class _RenamedVideo:
    def __init__(self, video: Video, class_ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        self.length = video.length
        self._video, self._class_ids = video, class_ids

    def frame(self, time: int) -> LabelledFrame:
        frame = self._video.frame(time)
        return replace(frame, class_ids=self._class_ids[frame.class_ids])


def open_sources(config: TrainConfig, console: Console, video_size: tuple[int, int] | None = None) -> list[OpenSource]:
    """Open every source of the training data and say what is left out of it.

    video_size: (height, width) that 'videos' are fitted into, None for that of the config.

    Raises ValueError or FileNotFoundError that names what cannot be used.
    """
    datasets: dict[tuple[str, ...], CocoDataset] = {}
    sizes = {'videos': video_size or config.size}
    sources = [open_source(each, sizes.get(each.kind, config.size), datasets, console) for each in config.data]
    for report in dict.fromkeys(source.report for source in sources if source.report):
        console.print(report, markup=False, highlight=False, soft_wrap=True)
    return sources


def mixture_of(sources: Sequence[OpenSource], config: TrainConfig, class_names: Sequence[str]) -> Mixture:
    """The training pairs of all sources by their weights, with class ids of the model."""
    weighted = zip(config.data, sources, strict=True)
    return Mixture([(each.weight, Renamed(source, class_names)) for each, source in weighted], config.seed)


def model_classes(config: TrainConfig, sources: Sequence[OpenSource]) -> tuple[tuple[str, ...], str]:
    """The classes of the model (see TrainConfig.class_names), and a remark where those of the weights are not kept.

    Raises ValueError where the config lists the classes and the data have others.
    """
    names = tuple(dict.fromkeys(name for source in sources for name in source.class_names))
    assert isinstance(config.model, ModelConfig)
    known = config.class_names or (config.model.class_names if config.weights else names)
    unknown = [name for name in names if name not in known]
    if not unknown:
        return known, ''
    text = ', '.join(_with_near(name, known) for name in unknown)
    if config.class_names:
        raise ValueError(f'the data have classes that are not in model class_names: {text}')
    return names, f'the weights do not know {text}: the model gets the {len(names)} classes of the data'


def _with_near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.8)
    return f'{name!r} (they have {near[0]!r})' if near else repr(name)


def open_source(
    source: DataSource, size: tuple[int, int], datasets: dict[tuple[str, ...], CocoDataset], console: Console
) -> OpenSource:
    """Open one source. datasets: image sets that were opened before, by what they are."""
    if source.kind == 'scenes':
        return OpenSource((SHAPE,), SceneVideos(size, 0))
    if source.kind == 'videos':
        videos = FrameVideos(
            read_annotations(source),
            size,
            only=source.only,
            object_class=source.object_class,
            exhaustive=source.exhaustive,
            progress=lambda found: _tracked(found, source.annotations, console),
        )
        return OpenSource(videos.class_names, videos, videos.report())
    key = (source.images, source.annotations, source.classes, source.part)
    if key not in datasets:
        datasets[key] = CocoDataset(source.images, source.annotations, source.classes, source.part)
    dataset = datasets[key]
    report = dataset.report() if dataset.problems else ''
    names = tuple(dataset.class_names)
    if source.kind == 'images':
        return OpenSource(names, StillVideos(dataset, size, source.composite_config()), report)
    objects: list[ObjectSource] = [*dataset.objects()]
    if source.davis:
        objects += davis_objects(source.davis, names, copies=DAVIS_COPIES)
    return OpenSource(names, CompositeVideos(dataset, objects, size, source.composite_config()), report)


def read_annotations(source: DataSource) -> AnnotatedVideos:
    """The annotations of 'videos'; AnnotationError has every problem of every record."""
    return open_annotations(source.annotations, images=source.images or None)


def _tracked(videos: Sequence[AnnotatedVideo], name: str, console: Console) -> Iterable[AnnotatedVideo]:
    return track(videos, f'checking {name}', console=console, transient=True, disable=not console.is_terminal)
