"""Run the demo: camera and tracker as two processes that communicate over DDS, recorded by this process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

from vis_ros.demo.child_process import ChildProcess, ended_by_signals
from vis_ros.demo.demo_recorder import DemoRecorder, TrackerReply
from vis_ros.demo.scene_camera import IMAGE_TOPIC
from vis_ros.recordings.bag_files import remove_bag
from vis_ros.ros.environment import prepare_environment
from vis_ros.ros.isolation import child_environment, isolate
from vis_ros.synthetic.scene import Scene

SCENE_SIZE = (360, 640)
"""(height, width) of the images of the demo in pixels."""

TRACKER_COMMAND = (sys.executable, '-m', 'vis_ros.node')

_FIRST_REPLY_TIMEOUT_S = 180.0
_REPLY_TIMEOUT_S = 30.0
_DRAIN_TIMEOUT_S = 10.0

OnProgress = Callable[[str, int], None]
"""Called with the current activity and the number of replies so far."""


@dataclass(frozen=True)
class DemoRecording:
    """What camera and tracker published.

    stamps_ns: of the images that the camera published, in order.
    rate_hz: of the camera.
    replies: of the tracker.
    engine: what the diagnostics of the tracker report about its engine.
    """

    stamps_ns: list[int]
    rate_hz: float
    replies: list[TrackerReply]
    engine: dict[str, str]


def record(
    out: Path,
    scene: Scene,
    *,
    rate: float = 0.0,
    tracker_command: Sequence[str] = TRACKER_COMMAND,
    on_progress: OnProgress = lambda activity, replies: None,
) -> DemoRecording:
    """Play a scene to the tracker and record both into `out/bag`. The output of the processes goes to `out/*.log`.

    Args:
        out: an existing folder; the bag of an earlier demo is replaced.
        scene: what the camera publishes.
        rate: images per second; 0 takes the rate that the tracker can sustain.
        tracker_command: starts the tracker; ROS arguments are appended.
        on_progress: see `OnProgress`.

    Raises:
        ChildProcessError: camera or tracker ended early, or the tracker reports that it cannot work.
        TimeoutError: the tracker stopped publishing results.
    """
    out = out.resolve()
    bag, start, report = out / 'bag', out / 'start', out / 'camera.json'
    remove_bag(bag)
    start.unlink(missing_ok=True)
    report.unlink(missing_ok=True)
    isolate()
    environment = child_environment()
    prepare_environment(sends_images=False)  # this process only records
    tracker = [*tracker_command, '--ros-args', '-r', f'image:={IMAGE_TOPIC}']
    camera = [sys.executable, '-m', 'vis_ros.demo.scene_camera', '--subscribers', '2', '--rate', str(rate)]
    camera += ['--seed', str(scene.seed), '--frames', str(scene.frames), '--report', str(report), '--start', str(start)]
    camera += ['--height', str(scene.size[0]), '--width', str(scene.size[1])]
    with (
        ended_by_signals(),
        ChildProcess('tracker', tracker, out / 'tracker.log', environment, out) as tracker_process,
        ChildProcess('camera', camera, out / 'camera.log', environment, out) as camera_process,
        _ros(),
        DemoRecorder(bag) as recorder,
    ):
        sent = _follow(recorder, (tracker_process, camera_process), start, report, scene.frames, on_progress)
        start.unlink(missing_ok=True)
        return DemoRecording(sent['stamps_ns'], sent['rate_hz'], recorder.replies, recorder.status.engine)


def _follow(
    recorder: DemoRecorder,
    children: Sequence[ChildProcess],
    start: Path,
    report: Path,
    frames: int,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Let the camera start, and record until the last reply or a timeout. Returns the report of the camera."""
    sent: dict[str, Any] | None = None
    replies, last_change = 0, time.monotonic()
    while True:
        rclpy.spin_once(recorder, timeout_sec=0.05)
        for child in children:
            child.check()
        if recorder.status.fault:
            raise ChildProcessError(f'the tracker cannot work: {recorder.status.fault}')
        if recorder.is_connected:
            start.touch()
        if len(recorder.replies) != replies or (sent is None and report.exists()):
            replies, last_change = len(recorder.replies), time.monotonic()
            sent = json.loads(report.read_text(encoding='utf-8')) if report.exists() else None
            on_progress(_activity(replies, sent is not None), replies)
        if sent and replies and recorder.replies[-1].stamp_ns == sent['stamps_ns'][-1]:
            return sent
        silence_s = time.monotonic() - last_change
        if sent and silence_s > _DRAIN_TIMEOUT_S:
            return sent  # the last images or replies are lost, which the metrics show
        if silence_s > (_REPLY_TIMEOUT_S if replies else _FIRST_REPLY_TIMEOUT_S):
            tails = '\n'.join(f'{child.log}:\n{child.tail(8)}' for child in children)
            raise TimeoutError(
                f'the tracker has published nothing for {silence_s:.0f} s, after results for {replies} of {frames} '
                f'images.\n{tails}'
            )


def _activity(replies: int, all_sent: bool) -> str:
    if all_sent:
        return 'waiting for the last result'
    return 'tracking' if replies else 'starting'


@contextmanager
def _ros() -> Iterator[None]:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()
