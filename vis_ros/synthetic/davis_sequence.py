"""DavisSequence: one sequence of a DAVIS folder, as a labeled video and as a source of object crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.davis import DavisVideo
from vis_ros.datasets.frame_images import images_by_stem
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.video_object import VideoObject

DAVIS_CLASSES: dict[str, str] = {
    'blackswan': 'animal',
    'bmx-trees': 'vehicle',
    'breakdance': 'person',
    'car-shadow': 'vehicle',
    'cows': 'animal',
    'drift-chicane': 'vehicle',
    'horsejump-high': 'animal',
    'kite-surf': 'person',
    'motocross-jump': 'vehicle',
    'paragliding-launch': 'person',
    'scooter-black': 'vehicle',
    'soapbox': 'vehicle',
}
"""Sequence -> COCO supercategory of its object. A rider and a mount are one object, with the class of the mount."""

DAVIS_TRAIN: tuple[str, ...] = tuple(sorted(DAVIS_CLASSES)[0::2])
"""The training half: every second name in alphabetical order, from the first."""

DAVIS_TEST: tuple[str, ...] = tuple(sorted(DAVIS_CLASSES)[1::2])
"""The other half, which is never trained on."""


class DavisSequence(VideoObject):
    """The images `JPEGImages/<name>/*` and the masks `Annotations/<name>/*.png` of a DAVIS folder.

    As an ObjectSource it shows its first object.

    Args:
        root: the DAVIS folder.
        name: of the sequence.
        class_id: of its objects.

    length: number of frames.

    Raises:
        ValueError: there are no images, or an image has no mask.
    """

    def __init__(self, root: str | Path, name: str, class_id: int = 0) -> None:
        self.name = name
        images = images_by_stem(_frame_folder(Path(root), 'JPEGImages', name))
        masks = _frame_folder(Path(root), 'Annotations', name)
        files = [masks / f'{stem}.png' for stem in images]
        if not images:
            raise ValueError(f'{Path(root) / "JPEGImages"} has no images of the sequence {name!r}')
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise ValueError(f'{masks} has no mask for {len(missing)} of its frames, the first is {missing[0]}')
        self.length = len(images)
        super().__init__(DavisVideo(name, files, images), class_id)

    def __len__(self) -> int:
        return self.length

    def frame(self, time: int) -> LabeledFrame:
        """Frame number `time`. Pixels on no annotated object are ignored: they may show objects without labels."""
        frame = self.video.frame(time)
        image = _image(frame)
        if frame.size != image.shape[:2]:
            raise ValueError(
                f'{self.name}: the mask {frame.name} has the size {frame.size}, its image has {image.shape[:2]}'
            )
        masks = np.array([decode(mask) for mask in frame.masks], bool).reshape(-1, *frame.size)
        return LabeledFrame(
            image=image,
            object_ids=frame.track_ids.astype(np.int32),
            class_ids=np.full(len(frame), self.class_id, np.int32),
            masks=masks,
            pasted=np.zeros(len(frame), bool),
            ignored=np.asarray(~masks.any(0), bool),
        )


def _image(frame: AnnotatedFrame) -> NDArray[np.uint8]:
    assert frame.read_image is not None
    return frame.read_image()


def _frame_folder(root: Path, kind: str, name: str) -> Path:
    """<kind>/<name>, or <kind>/480p/<name> as in the published data set."""
    folder = root / kind / name
    return folder if folder.is_dir() else root / kind / '480p' / name
