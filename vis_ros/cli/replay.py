"""`vis-ros replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis_ros.cli.console import console, print_table, progress
from vis_ros.cli.replay_library import replay_library, runner
from vis_ros.cli.setting_options import with_settings
from vis_ros.tracking.settings import Settings
from vis_ros.visualization import Labels

if TYPE_CHECKING:
    from vis_ros.recordings.bag_depth import DepthTopics
    from vis_ros.replay.offline.offline_replay import ReplaySummary
    from vis_ros.tracking.model import Model


@with_settings()
def replay(
    source: Annotated[
        str,
        typer.Argument(
            metavar='SOURCE',
            help='A video, an image, a folder of images or of image folders, or a bag (.mcap, .db3, folder). Or a '
            "library: a folder of recordings or its URL (s3://...), a pattern ('day1/*.mcap'), or a .txt file with one "
            'in each line.',
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar='PATH', help='Folder for results, bag, overlay and contact sheet. Of a library also a URL.'
        ),
    ] = 'replay',
    topic: Annotated[str | None, typer.Option(help='Image topic of a bag that has several.')] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME[=TOPIC]',
            help='Camera of a bag. Repeat it for several. Without TOPIC: NAME/image or NAME/image/compressed.',
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(metavar='TOPIC', help='Depth topic of a bag, registered to the images: gives objects a position.'),
    ] = None,
    camera_info: Annotated[
        str | None, typer.Option(metavar='TOPIC', help='Calibration topic of a bag. Needed with --depth.')
    ] = None,
    rectified: Annotated[bool, typer.Option('--rectified', help='With --depth: the images are rectified.')] = False,
    photos: Annotated[
        bool | None,
        typer.Option(
            '--photos/--video',
            help='A folder of images holds photos, each for itself, or the frames of a video. Default: by sizes and '
            'names.',
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar='NAME', help='Of a folder of image folders: replay this one. Repeat it for several.'),
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help='Process every N-th image.')] = 1,
    max_frames: Annotated[int | None, typer.Option(min=1, help='Stop after this many processed images.')] = None,
    copy_images: Annotated[
        bool, typer.Option('--copy-images', help='Copy the messages of the processed images into the bag.')
    ] = False,
    confirmed: Annotated[
        bool, typer.Option('--confirmed', help='Leave out tracks until they are confirmed (see --min-hits).')
    ] = False,
    labels: Annotated[
        Labels, typer.Option(help='Tags in the pictures: full is track id, class and score; id is the track id.')
    ] = 'full',
    codec: Annotated[
        str,
        typer.Option(
            help='Codec of the overlay video: avc1, vp09, mp4v (by far the fastest); auto: the first available.'
        ),
    ] = 'auto',
    pictures: Annotated[
        bool, typer.Option('--pictures/--no-pictures', help='Write the overlay video and the contact sheet.')
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help='Of a library: processes, each with a model. Takes any folder as a library.'),
    ] = None,
    redo: Annotated[
        bool, typer.Option('--redo', help='Of a library: replace results that were made with other settings.')
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar='I/N',
            help='Of a library: replay the I-th of N parts only, as one job of an array. Afterwards, the same command '
            'without it completes the results.',
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar='ray|ray://HOST:PORT', help='Of a library: run the workers on Ray, on this machine or a cluster.'
        ),
    ] = None,
    worker_cpus: Annotated[int, typer.Option(min=1, help='With --on: CPU cores of each worker.')] = 1,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help='With --on: GPUs of each worker. With 0.25, four workers share one.')
    ] = 0.0,
    *,
    settings: Settings,
) -> None:
    """Track the objects in a recording without ROS: every image, by stamp, with the trackers of the node.

    Of a library, only what is missing in --out is done.
    """
    from vis_ros.fleet.recording_library import is_library
    from vis_ros.fleet.shared_storage import is_url
    from vis_ros.fleet.unit_replay import UnitOptions, options_identity
    from vis_ros.recordings.opening import open_recordings
    from vis_ros.recordings.video_writer import CODECS
    from vis_ros.replay.interruption import INTERRUPTED
    from vis_ros.replay.offline.offline_replay import replay as run
    from vis_ros.replay.output_folder import check_room
    from vis_ros.replay.run_identity import settings_identity, source_identity
    from vis_ros.tracking.model import Model

    if codec not in ('auto', *CODECS):
        raise ValueError(f'--codec {codec!r} is not one of auto, {", ".join(CODECS)}')
    if settings.propagates and settings.start_from == 'prompts':
        raise ValueError(
            f"start_from is 'prompts', but a replay has none, so {settings.model} would track nothing: "
            'use --start-from detections'
        )
    codecs = tuple(CODECS) if codec == 'auto' else (codec,)
    depth_topics = _depth_topics(depth, camera_info, rectified)
    options = UnitOptions(depth_topics, photos, stride, max_frames, copy_images, confirmed, labels, codecs, pictures)
    path, folder = Path(source), Path(out)
    if workers is not None or redo or part or on or is_url(source) or is_url(out) or is_library(path):
        if camera or only:
            raise ValueError('--camera and --only choose from one recording, and this is a library: leave them out')
        where = runner(workers, on, worker_cpus, worker_gpus)
        replay_library(source, out, topic, settings, options, where, redo=redo, part=part)
        return
    recordings = open_recordings(path, topic, parse_cameras(camera or []), depth_topics, photos, only or ())
    check_room(folder, [recording.path for recording in recordings])
    with console.status('loading the network'):
        model = Model(settings)
    described = recordings[0].description if len(recordings) == 1 else f'{len(recordings)} image folders in {source}'
    _print_model(described, model)
    expected = _expected([each.count for each in recordings], stride, max_frames)
    with progress('tracking', expected) as (bar, task):
        summary = run(
            recordings,
            model,
            folder,
            source=source,
            stride=stride,
            max_frames=max_frames,
            copy_images=copy_images,
            confirmed=confirmed,
            labels=labels,
            codecs=codecs,
            pictures=pictures,
            identity={**settings_identity(settings, options_identity(options, topic)), **source_identity(path)},
            on_frame=lambda: bar.advance(task),
        )
    of_photos = all(recording.photos for recording in recordings)
    _print_summary(folder, summary, CODECS.get(summary.codec, ''), of_photos)
    if summary.stopped_early == INTERRUPTED:
        console.print(f'Interrupted. The files in {out} are complete up to there.')
        raise typer.Exit(130)
    if summary.stopped_early:
        raise ValueError(f'{summary.stopped_early}. The files in {out} are complete up to there')
    if not summary.is_complete:
        raise typer.Exit(1)


def _print_model(described: str, model: Model) -> None:
    info = model.info
    console.print(f'{described}; {model.name} on {info.engine}, {info.device}, {info.precision}')
    if model.propagation:
        console.print(f'masks propagated by {model.propagation}')
    if info.note:
        console.print(info.note)


def _depth_topics(depth: str | None, camera_info: str | None, rectified: bool) -> DepthTopics | None:
    from vis_ros.recordings.bag_depth import DepthTopics

    if depth is None and camera_info is None and not rectified:
        return None
    if depth is None or camera_info is None:
        raise ValueError('--depth and --camera-info belong together: a position needs both')
    return DepthTopics(depth, camera_info, rectified)


def parse_cameras(options: list[str]) -> dict[str, str | None]:
    """Name -> topic of --camera NAME[=TOPIC] options. ValueError for a name that is not allowed or occurs twice."""
    from vis_ros.recordings.topics import CAMERA_NAMES, is_camera_name

    cameras: dict[str, str | None] = {}
    for option in options:
        name, _, topic = option.partition('=')
        if not is_camera_name(name):
            raise ValueError(f'--camera {option}: {name!r} is not a ROS name: {CAMERA_NAMES}')
        if name in cameras:
            raise ValueError(f'--camera {option}: there already is a camera {name}')
        cameras[name] = topic or None
    return cameras


def _expected(counts: list[int | None], stride: int, max_frames: int | None) -> int | None:
    """The number of images that will be processed, if it is known."""
    if None in counts:
        return max_frames
    frames = sum(-(-(count or 0) // stride) for count in counts)
    return frames if max_frames is None else min(frames, max_frames)


def _print_summary(out: Path, summary: ReplaySummary, codec: str, of_photos: bool) -> None:
    reasons = ', '.join(f'{count} {reason}' for reason, count in summary.skips.items())
    print_table(
        str(out),
        [
            ('images', summary.frames),
            *(
                [('images skipped', f'{summary.skipped} ({reasons}). The last one: {summary.last_problem}')]
                if reasons
                else []
            ),
            *[(f'images: {warning}', count) for warning, count in summary.warnings.items()],
            *[('left out', text) for text in summary.left_out],
            *[('assumed', text) for text in summary.inferred],
            ('rate, including reading and drawing', f'{summary.frames / summary.seconds:.1f} images/s'),
            ('time per image p50, p95', f'{summary.latency_ms[0]:.1f} ms, {summary.latency_ms[1]:.1f} ms'),
            ('objects', summary.instances) if of_photos else ('track ids', summary.identities),
            ('objects per image', f'{summary.instances / summary.frames:.1f}'),
            *([('overlay.mp4', f'{summary.codec}: {codec}')] if summary.codec else []),
            *([('no results.json', summary.no_results_json)] if summary.no_results_json else []),
        ],
    )
