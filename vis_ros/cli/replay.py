"""`vis-ros replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis_ros.cli.console import console, print_table, progress

if TYPE_CHECKING:
    from vis_ros.recordings.bag_depth import DepthTopics
    from vis_ros.replay.offline.offline_replay import ReplaySummary

_LIVE_PANEL = 'Options with --live'


def replay(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help='A video file, an image folder, a folder of image folders, or a bag (.mcap, .db3 or folder).'
        ),
    ],
    out: Annotated[Path, typer.Option(help='Folder for results, bag, video and contact sheet.')] = Path('replay'),
    topic: Annotated[str | None, typer.Option(help='Image topic of a bag that has several.')] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME[=TOPIC]',
            help='A camera of a bag, once for each; its topic is NAME/image or NAME/image/compressed if not given.',
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(metavar='TOPIC', help='Depth in the bag, registered to the images: gives objects a position.'),
    ] = None,
    camera_info: Annotated[
        str | None, typer.Option(metavar='TOPIC', help='Calibration of the images in the bag, for --depth.')
    ] = None,
    rectified: Annotated[bool, typer.Option('--rectified', help='The images are rectified, for --depth.')] = False,
    every: Annotated[int, typer.Option(min=1, help='Use one image of so many.')] = 1,
    max_frames: Annotated[int | None, typer.Option(min=1, help='End after so many images.')] = None,
    copy_images: Annotated[
        bool, typer.Option('--copy-images', help='Put the messages of the used images into the bag too.')
    ] = False,
    weights: Annotated[str, typer.Option(help='Name (see `vis-ros weights list`) or path of the weights.')] = 'demo',
    model: Annotated[
        str,
        typer.Option(
            help='auto, masktrack_rcnn, or mask_rcnn to leave the track head out; feelvos, rgmp, pts or maskrnn to '
            'carry along the masks of what the detector finds first.'
        ),
    ] = 'auto',
    propagation_weights: Annotated[
        str, typer.Option(help='Path of the weights of a model that carries masks along [default: those packaged]')
    ] = '',
    engine: Annotated[str, typer.Option(help='auto, tensorrt, openvino or torch.')] = 'auto',
    precision: Annotated[str, typer.Option(help='auto, fp32, fp16, bf16 or int8.')] = 'auto',
    association: Annotated[str, typer.Option(help='one_to_one, paper or mmtracking.')] = 'one_to_one',
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Ignore detections below [default: the model's own]"),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(help='avc1, vp09 or mp4v; auto takes the first that can be written. mp4v is by far the fastest.'),
    ] = 'auto',
    live: Annotated[
        bool, typer.Option('--live', help='Play it over DDS at a running node, and measure what comes back.')
    ] = False,
    rate: Annotated[
        float, typer.Option(rich_help_panel=_LIVE_PANEL, help='Play so many times as fast as recorded.')
    ] = 1.0,
    loop: Annotated[int, typer.Option(min=1, rich_help_panel=_LIVE_PANEL, help='Play so many times.')] = 1,
    node: Annotated[str, typer.Option(rich_help_panel=_LIVE_PANEL, help='Full name of the node.')] = '/vis_node',
) -> None:
    """Track the objects in a recording, every image in the order of stamps, without ROS running; or let a running node
    track them (--live).
    """
    _refuse_options(context, _OFFLINE_OPTIONS if live else _LIVE_OPTIONS, live)
    cameras = parse_cameras(camera or [])
    if live:
        from vis_ros.cli.replay_live import replay_live

        return replay_live(
            source, out, node=node, topic=topic, cameras=cameras, rate=rate, loop=loop, copy_images=copy_images
        )
    from vis_ros.engines.engine import load_engine
    from vis_ros.propagation.loading import load_propagation_model
    from vis_ros.propagation.propagation_config import PROPAGATION_CONFIGS
    from vis_ros.recordings.opening import open_sources
    from vis_ros.recordings.video_writer import CODECS
    from vis_ros.replay.interruption import INTERRUPTED
    from vis_ros.replay.offline.offline_replay import replay as run
    from vis_ros.tracking.association_config import AssociationConfig
    from vis_ros.tracking.detect_and_track import DetectAndTrack
    from vis_ros.tracking.identity_memory import IdentityMemory
    from vis_ros.tracking.propagate import OBJECT, Propagate
    from vis_ros.tracking.tracker import Tracker

    sources = open_sources(source, topic, cameras, _depth_topics(depth, camera_info, rectified))
    config = AssociationConfig(rule=association)  # type: ignore[arg-type]  # it checks the name itself
    carries = model in PROPAGATION_CONFIGS
    if propagation_weights and not carries:
        raise ValueError(f'--propagation-weights does not go with --model {model}, which carries no masks along')
    with console.status('loading the network'):
        propagators = load_propagation_model(model, propagation_weights) if carries else None
        detector = load_engine(
            weights,
            model='auto' if carries else model,
            engine=engine,
            precision=precision,
            score_threshold=score_threshold,
        )
        detector.warm_up()
    info = detector.describe()
    described = sources[0].description if len(sources) == 1 else f'{len(sources)} image folders in {source}'
    console.print(f'{described}; {info.model} on {info.engine}, {info.device}, {info.precision}')
    if propagators is not None:
        console.print(f'masks carried along by {propagators.weights} on {propagators.engine}')
    if info.fallback:
        console.print(info.fallback)
    name = info.model if Path(weights).stem == info.model else f'{info.model} ({Path(weights).stem})'
    settings: dict[str, Any] = {
        'source': str(source),
        'model': model if carries else name,  # as the node
        'weights': weights,
        **({'propagation': f'{propagators.weights}: {propagators.engine}'} if propagators is not None else {}),
        'engine': info.engine,
        'device': info.device,
        'precision': info.precision,
        'fallback': info.fallback,
        'association': association,
        'score_threshold': score_threshold,
    }

    def new_tracker() -> Tracker:
        if propagators is not None:
            return Propagate(propagators.new(), detector)
        return DetectAndTrack(detector, IdentityMemory(config))

    expected = _expected([each.count for each in sources], every, max_frames)
    with progress('tracking', expected) as (bar, task):
        summary = run(
            sources,
            new_tracker,
            (*detector.class_names, OBJECT) if carries else detector.class_names,
            out,
            settings=settings,
            every=every,
            max_frames=max_frames,
            copy_images=copy_images,
            codecs=tuple(CODECS) if codec == 'auto' else (codec,),
            on_frame=lambda: bar.advance(task),
        )
    _print_summary(out, summary, CODECS.get(summary.codec, ''))
    if summary.stopped_early == INTERRUPTED:
        console.print(f'Interrupted; what is in {out} is complete up to there.')
        raise typer.Exit(130)
    if summary.stopped_early:
        raise ValueError(f'{summary.stopped_early}. What is in {out} is complete up to there')


_OFFLINE_OPTIONS = (
    'depth',
    'camera_info',
    'rectified',
    'every',
    'max_frames',
    'weights',
    'model',
    'propagation_weights',
    'engine',
    'precision',
    'association',
    'score_threshold',
    'codec',
)
_LIVE_OPTIONS = ('rate', 'loop', 'node')


def _refuse_options(context: typer.Context, names: tuple[str, ...], live: bool) -> None:
    """Raise ValueError for options that were given but would do nothing."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == 'COMMANDLINE':
            reason = 'does not go with --live: it is up to the running node' if live else 'goes with --live only'
            raise ValueError(f'--{name.replace("_", "-")} {reason}')


def _depth_topics(depth: str | None, camera_info: str | None, rectified: bool) -> DepthTopics | None:
    from vis_ros.recordings.bag_depth import DepthTopics

    if depth is None and camera_info is None and not rectified:
        return None
    if depth is None or camera_info is None:
        raise ValueError('--depth and --camera-info belong together: positions take both')
    return DepthTopics(depth, camera_info, rectified)


def parse_cameras(options: list[str]) -> dict[str, str | None]:
    """Name -> topic of --camera NAME[=TOPIC] options. Raises ValueError for names that are none, or twice."""
    from vis_ros.recordings.bags import topic_name

    cameras: dict[str, str | None] = {}
    for option in options:
        name, _, topic = option.partition('=')
        if not name or any(topic_name(part) != part for part in name.split('/')):
            raise ValueError(f'--camera {option}: {name!r} is not a ROS name (letters, digits, _ and /)')
        if name in cameras:
            raise ValueError(f'--camera {option}: there is a camera {name} already')
        cameras[name] = topic or None
    return cameras


def _expected(counts: list[int | None], every: int, max_frames: int | None) -> int | None:
    """How many images will be used, where that is known."""
    if None in counts:
        return max_frames
    frames = sum(-(-(count or 0) // every) for count in counts)
    return frames if max_frames is None else min(frames, max_frames)


def _print_summary(out: Path, summary: ReplaySummary, codec: str) -> None:
    reasons = ', '.join(f'{reason} {count}' for reason, count in summary.skips.items())
    print_table(
        str(out),
        [
            ('images', summary.frames),
            *([('images skipped', f'{summary.skipped} ({reasons}): {summary.last_problem}')] if reasons else []),
            *[(f'images: {remark}', count) for remark, count in summary.warnings.items()],
            ('rate, with reading and drawing', f'{summary.frames / summary.seconds:.1f} images/s'),
            ('latency p50, p95', f'{summary.latency_ms[0]:.1f} ms, {summary.latency_ms[1]:.1f} ms'),
            ('identities', summary.identities),
            ('objects per image', f'{summary.instances / summary.frames:.1f}'),
            ('overlay.mp4', f'{summary.codec}: {codec}'),
            *([('no results.json', summary.no_results_json)] if summary.no_results_json else []),
        ],
    )
