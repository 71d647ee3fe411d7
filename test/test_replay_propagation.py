"""A replay in which objects are prompted in the first image gives the masks that `vis-ros compare-models` scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.evaluation.comparison.candidates import candidate, stamp
from vis_ros.instances import Instances
from vis_ros.propagation.propagation_file import build_propagation_network, save_propagation
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.recordings.opening import open_recordings
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.synthetic.scene import Scene
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings
from vis_ros.tracking.tracker import Tracker

SIZE = (120, 160)
FRAMES, STEPS = 5, 2

Mask = NDArray[np.uint8]


class PromptedModel(Model):
    """Its trackers are prompted with masks in their first image."""

    masks: Sequence[Mask] = ()

    def tracker(self) -> Tracker:
        tracker: Any = super().tracker()
        step = tracker.step

        def first(image: NDArray[np.uint8], seconds: float, *others: Any, **options: Any) -> Instances:
            tracker.step = step
            found: Instances = step(image, seconds, *others, **options)
            for mask in self.masks:
                tracker.prompt(mask=mask)
            return found

        tracker.step = first
        return tracker  # type: ignore[no-any-return]


def replayed(images: Path, first: AnnotatedFrame, settings: Settings, out: Path) -> list[list[Mask]]:
    """The masks of each frame after the first one."""
    model = PromptedModel(settings)
    model.masks = [decode(mask) for mask in first.masks]
    replay(open_recordings(images), model, out, pictures=False)
    (video,) = open_annotations(out).videos
    return [[decode(mask) for mask in frame.masks] for frame in video][1:]


def compared(frames: Sequence[tuple[AnnotatedFrame, NDArray[np.uint8]]], settings: Settings) -> list[list[Mask]]:
    model = candidate('pts', settings.propagation_weights, settings)
    model.start(frames[0][1], frames[0][0])
    found = [model.step(image, stamp(frame), None) for frame, image in frames[1:]]
    masks = [[each.full_mask(index) for index in range(len(each))] for each in found]
    return [[mask for mask in each if mask.any()] for each in masks]


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    network = build_propagation_network(
        PtsConfig('tiny', input_height=96, input_width=128, decoder_channels=16, crop_size=64, otn_channels=32)
    )
    save_propagation(network, path)
    return str(path)


def test_pts_with_fine_tuning(weights: str, tmp_path: Path) -> None:
    scene = Scene(seed=3, size=SIZE)
    (tmp_path / 'images').mkdir()
    frames = []
    for index in range(FRAMES):
        image, masks = scene.frame(20 + index).image, scene.frame(20 + index).masks
        cv2.imwrite(str(tmp_path / 'images' / f'{index:05d}.png'), image)
        chosen = sorted(masks, key=lambda mask: -int(mask.sum()))[:2]
        annotated = AnnotatedFrame(
            name=f'{index:05d}',
            index=index,
            stamp_ns=None,
            size=SIZE,
            track_ids=np.arange(2) + 1,
            class_ids=np.zeros(2, np.int64),
            scores=np.ones(2),
            masks=[encode(mask.astype(np.uint8)) for mask in chosen],
        )
        frames.append((annotated, image))
    settings = Settings(
        model='pts',
        start_from='prompts',
        weights='',
        propagation_weights=weights,
        fine_tune_steps=STEPS,
        device='cpu',
        threads=1,
    )
    expected = compared(frames, settings)
    assert any(expected)
    found = replayed(tmp_path / 'images', frames[0][0], settings, tmp_path / 'out')
    assert len(found) == len(expected) == FRAMES - 1
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    coarse = settings.with_values(fine_tune_steps=0, engine='torch')
    untuned = replayed(tmp_path / 'images', frames[0][0], coarse, tmp_path / 'untuned')
    assert [np.sum(masks) for masks in found] != [np.sum(masks) for masks in untuned], 'fine-tuning changes masks'
