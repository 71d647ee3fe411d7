"""`vis-ros demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis_ros.cli.console import console, print_table, progress
from vis_ros.extras import require_ros


def demo(
    out: Annotated[Path, typer.Option(help='Folder for the video, contact sheet, metrics and bag.')] = Path('demo'),
    frames: Annotated[int, typer.Option(min=30, help='Length of the scene in frames.')] = 150,
    rate: Annotated[float | None, typer.Option(help='Frames per second; default: the highest possible.')] = None,
) -> None:
    """Run a synthetic camera and the node as two processes that exchange images and masks over DDS; measure both."""
    require_ros('the demo')
    from vis_ros.claim import claim
    from vis_ros.demo.demo_report import write_report
    from vis_ros.demo.demo_run import SCENE_SIZE, record
    from vis_ros.synthetic.scene import Scene

    claim(out)
    scene = Scene(seed=0, size=SCENE_SIZE, frames=frames)
    with progress('starting', frames) as (bar, task):
        recording = record(
            out,
            scene,
            rate=rate or 0.0,
            on_progress=lambda activity, replies: bar.update(task, description=activity, completed=replies),
        )
    with progress('scoring', len(recording.replies)) as (bar, task):
        metrics = write_report(out, scene, recording, lambda: bar.advance(task))
    share = metrics['frames_received'] / metrics['frames_sent']
    engine = metrics['engine']
    print_table(
        f'{out}/metrics.json',
        [
            ('images sent by the camera', metrics['frames_sent']),
            ('results from the node', f'{metrics["frames_received"]} ({share:.1%})'),
            ('dropped for newer images', metrics['frames_dropped']),
            ('rate', f'{metrics["rate_hz"]} Hz'),
            ('latency p50, p95', f'{metrics["latency_ms"]["p50"]} ms, {metrics["latency_ms"]["p95"]} ms'),
            ("stamps equal the camera's", 'yes' if metrics['stamps_equal'] else 'NO'),
            ('track ids unique in each image', 'yes' if metrics['ids_unique'] else 'NO'),
            ('track ids (true objects)', f'{metrics["identities"]} ({metrics["true_identities"]})'),
            ('identity switches', metrics['id_switches']),
            ('mean mask IoU', f'{metrics["mean_mask_iou"]:.3f}'),
            ('true objects found', f'{metrics["recall"]:.1%}'),
            (
                'engine',
                ', '.join(engine[key] for key in ('engine', 'engine device', 'engine precision') if key in engine),
            ),
        ],
    )
    console.print(f'See {out}/overlay.mp4 and {out}/contact_sheet.png. The bag {out}/bag has the images and masks.')
