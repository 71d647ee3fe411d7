"""`vis-ros replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis_ros.cli.console import console, print_table, progress


def replay(
    source: Annotated[Path, typer.Argument(help='A video file, an image folder, or a bag (.mcap, .db3 or folder).')],
    out: Annotated[Path, typer.Option(help='Folder for results.jsonl, overlay.mp4 and contact_sheet.png.')] = Path(
        'replay'
    ),
    topic: Annotated[str | None, typer.Option(help='Image topic of a bag that has several.')] = None,
    every: Annotated[int, typer.Option(min=1, help='Use one image of so many.')] = 1,
    max_frames: Annotated[int | None, typer.Option(min=1, help='End after so many images.')] = None,
    weights: Annotated[str, typer.Option(help='Name (see `vis-ros weights list`) or path of the weights.')] = 'demo',
    model: Annotated[
        str, typer.Option(help='auto, masktrack_rcnn, or mask_rcnn to leave the track head out.')
    ] = 'auto',
    association: Annotated[str, typer.Option(help='one_to_one, paper or mmtracking.')] = 'one_to_one',
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Ignore detections below [default: the model's own]"),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(help='avc1, vp09 or mp4v; auto takes the first that can be written. mp4v is by far the fastest.'),
    ] = 'auto',
) -> None:
    """Track the objects in a recording, every image in order, without ROS running."""
    from vis_ros.engines.engine import load_engine
    from vis_ros.identity.config import AssociationConfig
    from vis_ros.identity.memory import IdentityMemory
    from vis_ros.replay.offline import replay as run
    from vis_ros.segmenters.detect_and_track import DetectAndTrack
    from vis_ros.sources import open_source
    from vis_ros.video_writer import CODECS

    recording = open_source(source, topic)
    memory = IdentityMemory(AssociationConfig(rule=association))  # type: ignore[arg-type]  # it checks the name itself
    with console.status('loading the network'):
        engine = load_engine(weights, model=model, score_threshold=score_threshold)
        engine.warm_up()
    info = engine.describe()
    console.print(f'{recording.description}; {info.model} on {info.engine}, {info.device}, {info.precision}')
    expected = None if recording.count is None else min(-(-recording.count // every), max_frames or recording.count)
    with progress('tracking', expected) as (bar, task):
        summary = run(
            recording,
            DetectAndTrack(engine, memory),
            engine.class_names,
            out,
            every=every,
            max_frames=max_frames,
            codecs=tuple(CODECS) if codec == 'auto' else (codec,),
            on_frame=lambda: bar.advance(task),
        )
    print_table(
        str(out),
        [
            ('images', summary.frames),
            *([('images skipped', f'{summary.skipped} ({summary.last_problem})')] if summary.skipped else []),
            ('rate, with reading and drawing', f'{summary.frames / summary.seconds:.1f} images/s'),
            ('latency p50, p95', f'{summary.latency_ms[0]:.1f} ms, {summary.latency_ms[1]:.1f} ms'),
            ('identities', summary.identities),
            ('objects per image', f'{summary.instances / summary.frames:.1f}'),
            ('overlay.mp4', f'{summary.codec}: {CODECS.get(summary.codec, "")}'),
        ],
    )
