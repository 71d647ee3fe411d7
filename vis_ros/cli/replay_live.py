"""`vis-ros replay-live`: play a recording over DDS to a running node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis_ros.cli.console import console, print_table, progress
from vis_ros.cli.replay import parse_cameras
from vis_ros.extras import require_ros

if TYPE_CHECKING:
    from vis_ros.replay.live.live_results import LiveSummary


def replay_live(
    source: Annotated[
        Path, typer.Argument(help='A video, an image, a folder of images, or a bag (.mcap, .db3 or folder).')
    ],
    out: Annotated[Path, typer.Option(help='Folder for results and bag.')] = Path('replay'),
    node: Annotated[str, typer.Option(help='Fully qualified name of the running node.')] = '/vis_node',
    topic: Annotated[
        str | None,
        typer.Option(help='Image topic of a bag. Default: the topic of each camera of the node, or the only one.'),
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME[=TOPIC]',
            help='Play a topic of a bag to the camera NAME of the node. Repeat it for several. Without TOPIC: '
            'NAME/image or NAME/image/compressed.',
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help='Speed of the replay; 1 is as recorded.')] = 1.0,
    loop: Annotated[int, typer.Option(min=1, help='Play the recording this many times.')] = 1,
    copy_images: Annotated[
        bool, typer.Option('--copy-images', help='Copy the messages of the images into the bag.')
    ] = False,
) -> None:
    """Play a recording over DDS to a running node, at the recorded times. Records the results and measures latency.

    The node is reset first. Start it with use_sim_time:=true to run it on the clock of the recording.
    """
    require_ros('a live replay')
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
            cameras=parse_cameras(camera or []),
            rate=rate,
            loop=loop,
            copy_images=copy_images,
            on_ready=on_ready,
            on_image=lambda: bar.advance(task),
        )
    _print_summary(out, summary)
    if summary.stopped_early == INTERRUPTED:
        console.print(f'Interrupted. The files in {out} are complete up to there.')
        raise typer.Exit(130)
    if summary.stopped_early:
        raise ValueError(f'{summary.stopped_early}. The files in {out} are complete up to there')


def _print_summary(out: Path, summary: LiveSummary) -> None:
    table = [
        ('images sent', summary.sent),
        *([('unreadable images', f'{summary.skipped}: {summary.last_problem}')] if summary.skipped else []),
        ('results received', f'{summary.received} ({summary.received / max(summary.sent, 1):.1%})'),
        ('dropped by the node for newer images', summary.dropped),
        ('lost', summary.lost),
        ('sent late', f'{summary.late} (by more than 10 ms; at most {summary.latest_ms:.1f} ms)'),
        ('rate', f'{summary.rate_hz:.2f} of {summary.recorded_hz:.2f} images/s'),
        ('latency p50, p95, p99', f'{_milliseconds(summary.latency_percentiles_ms)} (publish to receive, wall time)'),
        ('latency reported by the node', _node_latency(summary)),
        ('epochs', ', '.join(map(str, summary.epochs)) or 'none'),
        ('track ids', summary.identities),
        *([('results for images of other publishers', summary.unknown)] if summary.unknown else []),
        *([('no results.json', summary.no_results_json)] if summary.no_results_json else []),
    ]
    print_table(str(out), table)


def _node_latency(summary: LiveSummary) -> str:
    if summary.node_latency_percentiles_ms is None:
        return summary.node_clock
    return f'{_milliseconds(summary.node_latency_percentiles_ms)} ({summary.node_clock})'


def _milliseconds(percentiles: tuple[float, ...] | None) -> str:
    return 'unknown' if percentiles is None else ', '.join(f'{value:.1f}' for value in percentiles) + ' ms'
