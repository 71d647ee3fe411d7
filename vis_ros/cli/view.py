"""`vis-ros view`: the results of a replay in Rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis_ros.cli.console import console

if TYPE_CHECKING:
    import rerun as rr

    from vis_ros.recordings.recording import Recording


def view(
    run: Annotated[Path | None, typer.Argument(help='Output of vis-ros replay; leave it out with --live.')] = None,
    source: Annotated[
        Path | None, typer.Option(help='The recording, for its images. Default: the one that run.json names.')
    ] = None,
    truth: Annotated[Path | None, typer.Option(help='Ground truth to show beside the results.')] = None,
    live: Annotated[bool, typer.Option('--live', help='Show the images and objects of a running node.')] = False,
    node: Annotated[str, typer.Option(help='Fully qualified name of the running node.')] = '/vis_node',
    out: Annotated[Path | None, typer.Option(help='Write a .rrd file instead of opening the viewer.')] = None,
) -> None:
    """Look at the results of a replay, or of a running node, in Rerun: images, masks in the colors of their tracks,
    boxes, positions.
    """
    from vis_ros.claim import check_new
    from vis_ros.datasets.open_annotations import open_annotations
    from vis_ros.extras import require

    require('view', 'vis-ros view')
    if out is not None:
        check_new(out, '--out')
    from vis_ros.view.rerun_log import RerunLog

    if live:
        if run or source or truth:
            raise ValueError('--live shows a running node: leave RUN, --source and --truth out')
        _view_live('/' + node.strip('/'), out)
        return
    if run is None:
        raise ValueError('give the output of a replay, or --live for a running node')
    results = open_annotations(run)
    labeled = None if truth is None else open_annotations(truth)
    recordings = _recordings(run, source)
    stream = _stream(str(run), out)
    log = RerunLog(stream)
    with console.status('sending the frames'):
        frames = log.add_run(run, recordings)
        labels = 0 if labeled is None else log.add_truth(results, labeled)
        log.show(with_truth=labels > 0)
        stream.flush()
    shown = f'{frames} frames' if truth is None else f'{frames} frames, {labels} with ground truth'
    console.print(shown if out is None else f'{shown}: rerun {out}')


def _stream(name: str, out: Path | None) -> rr.RecordingStream:
    """What is sent to the viewer, or to a file."""
    import rerun as rr

    from vis_ros.unicode_text import unicode_text

    stream = rr.RecordingStream('vis_ros', recording_id=unicode_text(name))
    if out is None:
        stream.spawn()
    else:
        stream.save(out)
    return stream


def _view_live(node: str, out: Path | None) -> None:
    from vis_ros.extras import require_ros

    require_ros('a live view')
    from vis_ros.replay.interruption import interruptible
    from vis_ros.replay.run_date import run_date
    from vis_ros.view.live_view import view_live
    from vis_ros.view.rerun_log import RerunLog

    with interruptible() as stop:
        stream = _stream(f'{node} {run_date()}', out)
        frames = view_live(RerunLog(stream), node, stop, lambda topics: console.print(f'{topics}; Ctrl-C ends'))
        stream.flush()
    console.print(f'{frames} images{"" if out is None else f": rerun {out}"}')


def _recordings(run: Path, source: Path | None) -> list[Recording]:
    """The recordings of a run; none, with a word, if they are not there any more."""
    from vis_ros.recordings.bag_files import is_bag
    from vis_ros.recordings.opening import open_recordings

    file = run / 'run.json'
    content = json.loads(file.read_text(encoding='utf-8')) if file.is_file() else {}
    named = content.get('source')
    path = source or (Path(named) if named else None)
    if path is None or not (path.exists() or source):
        why = f'the recording {named} is not there' if named else f'{run} has no run.json that names the recording'
        console.print(f'No images: {why}. Give it with --source.', soft_wrap=True, markup=False)
        return []
    cameras: dict[str, str | None] = content.get('cameras', {}) if is_bag(path) else {}
    single = next(iter(cameras.values())) if len(cameras) == 1 else None
    return open_recordings(path, single, cameras if len(cameras) > 1 else None)
