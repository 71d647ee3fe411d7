"""From the data section of a TrainConfig to a Mixture, everything checked before the first step."""

from __future__ import annotations

from rich.console import Console

from vis_ros.data.coco import CocoDataset
from vis_ros.data.composites import CompositeConfig, CompositeVideos, Videos
from vis_ros.data.cutout import ObjectSource
from vis_ros.data.davis import davis_objects
from vis_ros.data.mixture import Mixture
from vis_ros.data.scene import SceneVideos
from vis_ros.data.stills import StillVideos
from vis_ros.training.config import DataSource, TrainConfig

LARGE_OBJECTS = CompositeConfig(sizes=(0.07, 0.9), enlargement=2.5)
"""Objects as large as a robot meets them, at the price of some that are enlarged and soft."""

DAVIS_COPIES = 15
"""A DAVIS sequence shows one object in many poses: it is drawn so many times as often as one cut-out of an image."""


def build_mixture(config: TrainConfig) -> Mixture:
    """Open every source; ValueError or FileNotFoundError names what cannot be used. Skipped records are printed."""
    datasets: dict[tuple[str, str], CocoDataset] = {}
    return Mixture([(source.weight, _open(source, config, datasets)) for source in config.data], config.seed)


def _open(source: DataSource, config: TrainConfig, datasets: dict[tuple[str, str], CocoDataset]) -> Videos:
    size = (config.image_height, config.image_width)
    names = config.model.class_names
    if source.kind == 'scenes':
        if 'shape' not in names:
            raise ValueError(f'scenes need a class named shape, the model has {", ".join(names)}')
        return SceneVideos(size, names.index('shape'))
    key = (source.images, source.annotations)
    if key not in datasets:
        datasets[key] = _read(source, names)
    dataset = datasets[key]
    if source.kind == 'images':
        return StillVideos(dataset, size)
    objects: list[ObjectSource] = [*dataset.objects()]
    if source.davis:
        objects += davis_objects(source.davis, names, copies=DAVIS_COPIES)
    return CompositeVideos(dataset, objects, size, LARGE_OBJECTS)


def _read(source: DataSource, names: tuple[str, ...]) -> CocoDataset:
    dataset = CocoDataset(source.images, source.annotations, classes=source.classes)
    if tuple(dataset.class_names) != names[: len(dataset.class_names)]:
        raise ValueError(
            f'{source.annotations} has the classes {", ".join(dataset.class_names)}; the model must begin with them, '
            f'but has {", ".join(names)}'
        )
    if dataset.problems:
        Console(stderr=True).print(dataset.report(), markup=False)
    return dataset
