"""`vis-ros replay --live`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vis_ros.cli.console import console, print_table, progress

if TYPE_CHECKING:
    from vis_ros.replay.live.live_results import LiveSummary, Percentiles


def replay_live(
    source: Path,
    out: Path,
    *,
    node: str,
    topic: str | None,
    cameras: Mapping[str, str | None],
    rate: float,
    loop: int,
    copy_images: bool,
) -> None:
    """Play a recording at a running node, and print what came back."""
    from vis_ros.replay.interruption import INTERRUPTED
    from vis_ros.replay.live.live_replay import replay_live as run
    from vis_ros.replay.live.timed_images import open_timed_images

    images = open_timed_images(source)
    node = '/' + node.strip('/')
    with progress(f'waiting for {node}', None) as (bar, task):

        def on_ready(total: int | None, description: str) -> None:
            bar.update(task, description='playing', total=total)
            bar.console.print(f'{images.description}: {description}')

        summary = run(
            images,
            out,
            node=node,
            topic=topic,
            cameras=cameras,
            rate=rate,
            loop=loop,
            copy_images=copy_images,
            on_ready=on_ready,
            on_image=lambda: bar.advance(task),
        )
    _print_summary(out, summary)
    if summary.stopped_early == INTERRUPTED:
        console.print(f'Interrupted; what is in {out} is complete up to there.')
        raise typer.Exit(130)
    if summary.stopped_early:
        raise ValueError(f'{summary.stopped_early}. What is in {out} is complete up to there')


def _print_summary(out: Path, summary: LiveSummary) -> None:
    table = [
        ('images sent', summary.sent),
        ('answered', f'{summary.received} ({summary.received / max(summary.sent, 1):.1%})'),
        ('dropped by the node for newer ones', summary.dropped),
        ('lost', summary.lost),
        ('sent late', f'{summary.late} (by more than 10 ms; the worst by {summary.latest_ms:.1f} ms)'),
        ('rate', f'{summary.rate_hz:.2f} of {summary.recorded_hz:.2f} images/s'),
        ('latency p50, p95, p99', f'{_times(summary.latency_ms)} (from sending to hearing, wall time)'),
        ('latency that the node tells', f'{_times(summary.node_latency_ms)} ({summary.node_clock})'),
        ('epochs', ', '.join(map(str, summary.epochs)) or 'none'),
        ('identities', summary.identities),
    ]
    if summary.skipped:
        table.insert(1, ('images not readable', f'{summary.skipped}: {summary.last_problem}'))
    if summary.unknown:
        table.append(('answers to images of others', summary.unknown))
    print_table(str(out), table)


def _times(percentiles: Percentiles | None) -> str:
    return 'unknown' if percentiles is None else ', '.join(f'{value:.1f}' for value in percentiles) + ' ms'
