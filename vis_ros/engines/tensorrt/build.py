"""Building a TensorRT engine in a child process, so that a crash of the library does not end this one."""

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
    """The library that builds an engine, and the GPU to build it for.

    Attributes:
        flavour: a key of `vis_ros.engines.tensorrt.library.FLAVOURS`.
        capability: (major, minor) of the GPU; None builds for every GPU that TensorRT-RTX supports.
        device: number of the GPU that the builder may use; None if it needs none (TensorRT-RTX).
    """

    flavour: str
    capability: tuple[int, int] | None = None
    device: int | None = None


def build_plan(graph: Path, plan: Path, target: BuildTarget) -> str:
    """Build the engine of an ONNX graph and write it to the file `plan`. Progress is logged every five seconds.

    Returns:
        The precision in which the graph specifies its layers.

    Raises:
        ChildProcessError: TensorRT rejected the graph or crashed; the message has the last lines of its output.
    """
    _log.info('building the TensorRT engine of %s', graph.name)
    started = time.monotonic()
    with subprocess.Popen(
        _command(graph.resolve(), plan.resolve(), target),
        cwd=_PACKAGE_ROOT,  # Python looks here first, so the child imports this very package
        stdin=subprocess.PIPE,  # stays open as long as this process lives
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    ) as child:
        try:
            output = _follow(child, started)
            status = child.wait()
        finally:
            child.kill()  # in case this process is interrupted
    if status or not output.precision:
        raise ChildProcessError(_failure_message(graph, target, status, output))
    _log.info('built the TensorRT engine of %s in %.0f s', graph.name, time.monotonic() - started)
    return output.precision


class _ChildOutput:
    """What the child process has reported so far."""

    def __init__(self) -> None:
        self.progress = 'starting'
        self.precision = ''
        self.failure = ''
        self.last_lines: deque[str] = deque(maxlen=5)

    def add(self, line: str) -> None:
        """Take a line of output: a JSON object, or text that a library printed without its logger."""
        try:
            message = json.loads(line)
            level, text = message.get('level', ''), message.get('text', '')
        except (ValueError, AttributeError):
            self.last_lines.append(line)
            _log.debug('%s', line)
            return
        self.progress = message.get('progress', self.progress)
        self.precision = message.get('precision', self.precision)
        self.failure = message.get('failure', self.failure)
        if text:
            self.last_lines.append(text)
            _log.log(logging.WARNING if level in ('warning', 'error') else logging.DEBUG, 'TensorRT: %s', text)


def _follow(child: subprocess.Popen[str], started: float) -> _ChildOutput:
    """Read the output of the child until it ends, and log its progress meanwhile."""
    output = _ChildOutput()
    assert child.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_put_lines, args=(child.stdout, lines), daemon=True).start()
    due = started + PROGRESS_PERIOD_S
    for line in _lines_until_end(lines):
        if line:
            output.add(line)
        if time.monotonic() >= due:
            due += PROGRESS_PERIOD_S
            _log.info('building the TensorRT engine: %.0f s, %s', time.monotonic() - started, output.progress)
    return output


def _put_lines(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line.rstrip('\n'))
    lines.put(None)


def _lines_until_end(lines: queue.Queue[str | None], timeout_s: float = 0.5) -> Iterator[str]:
    """Lines as they arrive, and an empty one whenever none has arrived for `timeout_s`."""
    while True:
        try:
            line = lines.get(timeout=timeout_s)
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


def _failure_message(graph: Path, target: BuildTarget, status: int, output: _ChildOutput) -> str:
    reason = output.failure
    if not reason:
        how = (
            f'was killed by signal {-status}, possibly out of memory' if status < 0 else f'exited with status {status}'
        )
        reason = f'its process {how}; last output: {"; ".join(output.last_lines) or "none"}'
    return f'{FLAVOURS[target.flavour][0]} could not build {graph.name}: {" ".join(reason.split())}'
