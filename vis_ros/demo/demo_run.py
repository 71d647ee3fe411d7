"""Run the demo: camera and tracker as two real processes over DDS, and this process, which records and measures."""

from __future__ import annotations

import json
import shutil
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
from vis_ros.demo.recorder import Recorder, TrackerReply
from vis_ros.demo.scene_camera import IMAGE_TOPIC
from vis_ros.ros.isolation import child_environment, isolate
from vis_ros.synthetic.scene import Scene

SCENE_SIZE = (360, 640)
"""(height, width) of the demo's images in pixels."""

TRACKER_COMMAND = (sys.executable, '-m', 'vis_ros.node')

_START_S = 180.0
_SILENCE_S = 30.0
_LINGER_S = 10.0

Watch = Callable[[str, int], None]
"""Called with what is going on and how many images of the scene have been answered."""


@dataclass(frozen=True)
class Recording:
    """What was sent and what came back.

    stamps_ns: of the images that the camera sent, in order.
    rate_hz: at which it sent them.
    images: how many of them this process received.
    answers: of the tracker.
    engine: what the tracker's diagnostics say about its engine.
    """

    stamps_ns: list[int]
    rate_hz: float
    images: int
    answers: list[TrackerReply]
    engine: dict[str, str]


def record(
    out: Path,
    scene: Scene,
    *,
    rate: float = 0.0,
    tracker_command: Sequence[str] = TRACKER_COMMAND,
    watch: Watch = lambda activity, answered: None,
) -> Recording:
    """Play a scene to the tracker and record both into `out/bag`; the processes' output goes to `out/*.log`.

    Args:
        out: folder that exists; a bag of an earlier demo in it is replaced.
        scene: what the camera sees.
        rate: images per second; 0 takes what the tracker can hold.
        tracker_command: starts it; ROS arguments are appended.
        watch: for a progress bar.

    Raises:
        ChildProcessError: camera or tracker ended too soon, or the tracker says that it cannot work.
        TimeoutError: no answer for a long time.
    """
    out = out.resolve()
    bag, start, report = out / 'bag', out / 'start', out / 'camera.json'
    shutil.rmtree(bag, ignore_errors=True)
    start.unlink(missing_ok=True)
    report.unlink(missing_ok=True)
    isolate()
    environment = child_environment()
    tracker = [*tracker_command, '--ros-args', '-r', f'image:={IMAGE_TOPIC}']
    camera = [sys.executable, '-m', 'vis_ros.demo.scene_camera', '--subscribers', '2', '--rate', str(rate)]
    camera += ['--seed', str(scene.seed), '--frames', str(scene.frames), '--report', str(report), '--start', str(start)]
    camera += ['--height', str(scene.size[0]), '--width', str(scene.size[1])]
    with (
        ended_by_signals(),
        ChildProcess('tracker', tracker, out / 'tracker.log', environment, out) as tracker_process,
        ChildProcess('camera', camera, out / 'camera.log', environment, out) as camera_process,
        _ros(),
        Recorder(bag) as recorder,
    ):
        sent = _follow(recorder, (tracker_process, camera_process), start, report, scene.frames, watch)
        start.unlink(missing_ok=True)
        return Recording(sent['stamps_ns'], sent['rate_hz'], recorder.images, recorder.answers, recorder.status.engine)


def _follow(
    recorder: Recorder, children: Sequence[ChildProcess], start: Path, report: Path, frames: int, watch: Watch
) -> dict[str, Any]:
    """Let the camera start, record until the last image is answered or nothing comes; returns the camera's report."""
    sent: dict[str, Any] | None = None
    answered, last_news = 0, time.monotonic()
    while True:
        rclpy.spin_once(recorder, timeout_sec=0.05)
        for child in children:
            child.check()
        if recorder.status.fault:
            raise ChildProcessError(f'the tracker cannot work: {recorder.status.fault}')
        if recorder.hears_images and recorder.hears_answers:
            start.touch()
        if len(recorder.answers) != answered or (sent is None and report.exists()):
            answered, last_news = len(recorder.answers), time.monotonic()
            sent = json.loads(report.read_text(encoding='utf-8')) if report.exists() else None
            watch(_activity(recorder, sent), answered)
        if sent and answered and recorder.answers[-1].stamp_ns == sent['stamps_ns'][-1]:
            return sent
        silence = time.monotonic() - last_news
        if sent and silence > _LINGER_S:
            return sent  # the last ones are lost; the figures will say so
        if silence > (_SILENCE_S if answered else _START_S):
            tails = '\n'.join(f'{child.log}:\n{child.tail(8)}' for child in children)
            raise TimeoutError(f'no answer for {silence:.0f} s after {answered} of {frames} images.\n{tails}')


def _activity(recorder: Recorder, sent: dict[str, Any] | None) -> str:
    if sent is not None:
        return 'waiting for the last answer'
    return 'tracking' if recorder.answers else 'starting'


@contextmanager
def _ros() -> Iterator[None]:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()
