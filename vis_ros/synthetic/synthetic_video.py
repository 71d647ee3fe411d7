"""Synthetic videos (the scene of the demo, composites) as annotated videos with exact ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import encode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composites import CompositeVideos
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.scene import SHAPE, Scene

FIRST_STAMP_NS = 1_000_000_000
"""Stamp of the first frame. Not zero, because a zero stamp means that there is none."""


class SyntheticVideo(AnnotatedVideo):
    """A synthetic video with stamps at a rate in Hz. Each frame is made when it is read."""

    def __init__(self, name: str, make: Callable[[int], LabeledFrame], frames: int, rate: float) -> None:
        super().__init__(name, frames)
        self._make, self._rate = make, rate

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        for index in range(self.length):
            frame = self._make(index)
            height, width = frame.image.shape[:2]
            yield AnnotatedFrame(
                name=f'{index:05d}',
                index=index,
                stamp_ns=FIRST_STAMP_NS + round(index * 1e9 / self._rate),
                size=(height, width),
                track_ids=frame.object_ids.astype(np.int64),
                class_ids=frame.class_ids.astype(np.int64),
                scores=np.ones(len(frame)),
                masks=[encode(mask) for mask in frame.masks],
                ignored=None if frame.ignored is None else encode(frame.ignored),
                read_image=partial(_image, frame.image),
            )


def _image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image


def scenes(count: int, frames: int, size: tuple[int, int], rate: float, seed: int) -> AnnotatedVideos:
    """The scene of the demo with different objects and backgrounds.

    Args:
        count: number of videos.
        frames: number of frames of each; the events of the scene are spread over them.
        size: (height, width) in pixels.
        rate: frames per second.
        seed: of the first video; the following videos have the following seeds.
    """
    makers = {f'scene_{seed + number:04d}': Scene(seed + number, size, frames).frame for number in range(count)}
    return _videos(makers, frames, rate, f'scenes of seed {seed}', (SHAPE,))


def composites(
    dataset: CocoDataset, count: int, frames: int, size: tuple[int, int], rate: float, seed: int
) -> AnnotatedVideos:
    """Videos of objects of a COCO data set that move over its images. Arguments as in `scenes`."""
    source = CompositeVideos(dataset, dataset.objects(), size)
    makers = {f'composite_{seed + number:04d}': source.video(seed + number).frame for number in range(count)}
    return _videos(makers, frames, rate, f'composites of seed {seed}', dataset.class_names)


def _videos(
    makers: Mapping[str, Callable[[int], LabeledFrame]],
    frames: int,
    rate: float,
    source: str,
    class_names: Sequence[str],
) -> AnnotatedVideos:
    videos = [SyntheticVideo(name, maker, frames, rate) for name, maker in makers.items()]
    return AnnotatedVideos(source, 'synthetic videos', tuple(class_names), videos)
