"""Building a TensorRT engine in a child process: whatever the library does, this process lives and reports."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vis_ros.engines.tensorrt.library import FLAVOURS

PROGRESS_PERIOD_S = 5.0

_PACKAGE_ROOT = Path(__file__).resolve().parents[3]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildTarget:
    """What an engine is built with and for.

    flavour: a key of `tensorrt_library.FLAVOURS`.
    capability: of the GPU, or None for every GPU that TensorRT-RTX supports.
    device: number of the GPU that the builder may use; None: TensorRT-RTX needs none.
    """

    flavour: str
    capability: tuple[int, int] | None = None
    device: int | None = None


def build_plan(graph: Path, plan: Path, target: BuildTarget) -> str:
    """Build the engine of an ONNX graph and write its plan. Progress is logged every five seconds.

    Returns:
        The precision that the graph asks for.

    Raises:
        ChildProcessError: TensorRT does not take the graph or died of it; the message has its last words.
    """
    _log.info('building the TensorRT engine of %s', graph.name)
    started = time.monotonic()
    with subprocess.Popen(
        _command(graph.resolve(), plan.resolve(), target),
        cwd=_PACKAGE_ROOT,  # Python looks there first: the child runs this very package
        stdin=subprocess.PIPE,  # held open for as long as this process lives
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    ) as child:
        try:
            report = _watch(child, started)
            status = child.wait()
        finally:
            child.kill()  # where this process is interrupted meanwhile
    if status or not report.precision:
        raise ChildProcessError(_worded_failure(graph, target, status, report))
    _log.info('built the TensorRT engine of %s in %.0f s', graph.name, time.monotonic() - started)
    return report.precision


class _Report:
    """What the child has told so far."""

    def __init__(self) -> None:
        self.progress = 'it begins'
        self.precision = ''
        self.failure = ''
        self.last_words: deque[str] = deque(maxlen=5)

    def take(self, line: str) -> None:
        """A line of the child: a JSON object, or what a library printed past its logger."""
        try:
            message = json.loads(line)
            level, text = message.get('level', ''), message.get('text', '')
        except (ValueError, AttributeError):
            self.last_words.append(line)
            _log.debug('%s', line)
            return
        self.progress = message.get('progress', self.progress)
        self.precision = message.get('precision', self.precision)
        self.failure = message.get('failure', self.failure)
        if text:
            self.last_words.append(text)
            _log.log(logging.WARNING if level in ('warning', 'error') else logging.DEBUG, 'TensorRT: %s', text)


def _watch(child: subprocess.Popen[str], started: float) -> _Report:
    report = _Report()
    assert child.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pass_on, args=(child.stdout, lines), daemon=True).start()
    due = started + PROGRESS_PERIOD_S
    for line in _until_the_end(lines):
        if line:
            report.take(line)
        if time.monotonic() >= due:
            due += PROGRESS_PERIOD_S
            _log.info('building the TensorRT engine: %.0f s, %s', time.monotonic() - started, report.progress)
    return report


def _pass_on(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line.rstrip('\n'))
    lines.put(None)


def _until_the_end(lines: queue.Queue[str | None], patience_s: float = 0.5) -> Iterator[str]:
    """The lines that come, and an empty one whenever none comes for a while."""
    while True:
        try:
            line = lines.get(timeout=patience_s)
        except queue.Empty:
            line = ''
        if line is None:
            return
        yield line


def _command(graph: Path, plan: Path, target: BuildTarget) -> list[str]:
    capability = 'any' if target.capability is None else f'{target.capability[0]}.{target.capability[1]}'
    device = 'none' if target.device is None else str(target.device)
    program = [sys.executable, '-m', 'vis_ros.engines.tensorrt.build_process']
    return [*program, str(graph), str(plan), target.flavour, capability, device]


def _worded_failure(graph: Path, target: BuildTarget, status: int, report: _Report) -> str:
    reason = report.failure
    if not reason:
        how = (
            f'was ended by signal {-status}, maybe for want of memory' if status < 0 else f'ended with status {status}'
        )
        reason = f'its process {how}; its last words: {"; ".join(report.last_words) or "none"}'
    return f'{FLAVOURS[target.flavour][0]} could not build {graph.name}: {" ".join(reason.split())}'
