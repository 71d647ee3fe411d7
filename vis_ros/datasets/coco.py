"""An image folder with a COCO instance JSON, as annotated videos: every image is a video of one frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vis_ros.datasets.json_truth import JsonLayout, JsonVideos, read_records
from vis_ros.datasets.problem_log import read_json

_LAYOUT = JsonLayout(kind='COCO JSON', videos='images', video_id='image_id', of_images=True)


def read(path: str | Path, *, images: str | Path | None = None, content: Any = None) -> JsonVideos:
    """Read a COCO instance file. Crowds (`iscrowd`) become ignored regions.

    Args:
        path: the JSON file.
        images: the folder of the pictures [default: the folder of the file, or `images` in it or beside it].
        content: of the file, where it has been read already.

    Raises:
        AnnotationError: with every problem of every record.
    """
    path = Path(path)
    folder = path.parent
    folders = [folder, folder / 'images', folder.parent / 'images'] if images is None else [Path(images)]
    return read_records(read_json(path) if content is None else content, path, _LAYOUT, folders)
