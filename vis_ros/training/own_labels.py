"""OwnLabels: what somebody's own labels hold, as far as a training config for them must know it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vis_ros.datasets.coco_json import find_image
from vis_ros.datasets.coco_vid import tracked_annotations
from vis_ros.datasets.labels import Labels, labels_of, read_labels, stored_labels
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import read_json
from vis_ros.synthetic.coco_images import CocoDataset, is_coco_instances


@dataclass(frozen=True)
class OwnLabels:
    """Labeled photos or videos.

    Attributes:
        path: of the labels.
        images: folder of the images; '' for videos whose images are in the default place of their format.
        classes: names of the classes; empty for a format without class labels.
        videos: names of the videos; empty for photos.
        count: number of photos or of frames.
        objects: number of labeled objects in photos that are large enough to be pasted; 0 for videos.
        labels: whether every object is labeled.
    """

    path: Path
    images: str
    classes: tuple[str, ...]
    videos: tuple[str, ...]
    count: int
    objects: int
    labels: Labels

    @property
    def of_photos(self) -> bool:
        """Whether these are photos and no videos."""
        return not self.videos


def read_own_labels(path: Path, images: Path | None, labels: Labels | None = None) -> OwnLabels:
    """Read labels of any format. Photos are a COCO file in which no track id occurs in several images.

    Args:
        path: the labels.
        images: folder of the images; None looks for it beside the labels.
        labels: whether every object is labeled; None: as stored, or as the format suggests.

    Raises:
        FileNotFoundError: there are no labels or no images.
        ValueError: they cannot be used.
    """
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    if is_coco_instances(path) and not tracked_annotations(read_json(path))[1]:
        return _read_photos(path, images, labels)
    videos = open_annotations(path, images=images)
    if videos.of_photos or all(len(video) == 1 for video in videos.videos):
        raise ValueError(f'{path} holds photos: give the COCO JSON file itself')
    return OwnLabels(
        path=path,
        images='' if images is None else str(images),
        classes=videos.class_names if videos.has_classes else (),
        videos=tuple(video.name for video in videos.videos),
        count=sum(len(video) for video in videos.videos),
        objects=0,
        labels=labels_of(videos, labels)[0],
    )


def _read_photos(path: Path, images: Path | None, labels: Labels | None) -> OwnLabels:
    content = read_json(path)
    folder = images or _image_folder(path, content['images'])
    dataset = CocoDataset(folder, path, 'categories')
    known = labels or stored_labels(content.get('info'), path) or read_labels(path) or 'exhaustive'
    return OwnLabels(path, str(folder), tuple(dataset.class_names), (), len(dataset), len(dataset.objects()), known)


def _image_folder(path: Path, records: list[Any]) -> Path:
    """The folder beside a COCO file that has its first image."""
    names = [str(record.get('file_name')) for record in records if isinstance(record, dict)]
    folders = [path.parent / 'images', path.parent, path.parent.parent / 'images', path.parent.parent]
    for folder in folders:
        if names and find_image(names[0], [folder]):
            return folder
    searched = ', '.join(dict.fromkeys(map(str, folders)))
    raise FileNotFoundError(f'{path}: the image {names[0] if names else "of it"} is not in {searched}: give --images')
