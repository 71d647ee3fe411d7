"""Training end to end: overfit two synthetic clips in YouTube-VIS format until the tracker finds every object."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.synthetic.composites import CompositeConfig, CompositeVideos
from vis_ros.synthetic.shapes import ShapeObject, TexturedImages
from vis_ros.synthetic.synthetic_video import SyntheticVideo
from vis_ros.training.trainer import train

SIZE = (128, 192)
CLIPS = (1, 4)
FRAMES = 6


def write_clips(folder: Path) -> Path:
    """Clips of two large objects that drift over a textured background, with exact masks and JPEG images."""
    off = {field.name: 0.0 for field in fields(CompositeConfig) if isinstance(field.default, float)}
    config = CompositeConfig(
        **off | {'enlargement': 9.0, 'speed': 0.5, 'depth': 1.0}, objects=(2, 2), sizes=(0.45, 0.6), length=FRAMES
    )
    shapes = [ShapeObject(number, 0) for number in range(8)]
    made = CompositeVideos(TexturedImages(2, (192, 288), first=0), shapes, SIZE, config)
    clips = [SyntheticVideo(f'clip_{seed}', made.video(seed).frame, FRAMES, 10.0) for seed in CLIPS]
    write_youtube_vis(AnnotatedVideos('clips', 'synthetic videos', ('thing',), clips), folder)
    return folder / 'instances.json'


@pytest.mark.slow
def test_two_clips_are_overfitted(tmp_path: Path) -> None:
    """Starts from the packaged weights, which have another resolution and not the class 'thing'."""
    clips = {'kind': 'videos', 'annotations': str(write_clips(tmp_path / 'clips'))}
    settings = {
        'data': [clips],
        'weights': 'demo',
        'model': {
            'name': 'two_clips',
            'input_height': SIZE[0],
            'input_width': SIZE[1],
            'proposals_before_nms': 100,
            'proposals': 30,
        },
        'image_height': SIZE[0],
        'image_width': SIZE[1],
        'pairs': 1,
        'sampled_rois': 48,
        'steps': 80,
        'learning_rate': 1e-3,
        'backbone_learning_rate': 5e-4,
        'warm_up_steps': 10,
        'weight_decay': 0.0,
        'frozen_blocks': -1,
        'ema': 0.9,
        'device': 'cpu',
        'workers': 0,
        'checkpoint_every': 1000,
        'validation': {'data': clips, 'every': 1000, 'videos': 2, 'frames': FRAMES, 'class_aware': True},
    }
    path = tmp_path / 'train.yaml'
    path.write_text(yaml.safe_dump(settings))
    train(path, tmp_path / 'out')
    _, row = [json.loads(line) for line in (tmp_path / 'out' / 'validation.jsonl').read_text().splitlines()]
    assert row['step'] == 80
    assert row['AP'] > 0.9 and row['HOTA'] > 0.9
    assert row['IDSW'] == 0
