"""ChildProcess: a process that is monitored while it runs and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vis_ros.end_with_parent import end_with_parent

_GRACE_S = {signal.SIGINT: 10.0, signal.SIGTERM: 5.0}


class ChildProcess:
    """Runs a command while its context is entered, with the output in a file.

    It ends with this process, even if that is killed. On leaving, the process group gets SIGINT, then SIGTERM, then
    SIGKILL, as far as it needs them.

    Args:
        name: for messages.
        command: program and arguments.
        log: the file that receives standard output and standard error.
        environment: environment variables of the process.
        folder: its working directory; None for that of this process.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ChildProcess:
        with self.log.open('wb') as output:
            # In a session of its own, Ctrl-C in the terminal reaches this process only, which then ends its children.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        return self

    def check(self) -> None:
        """Raise ChildProcessError with the end of its output if the process has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise ChildProcessError(
                f'the {self.name} ended with exit status {self._process.returncode}. The end of {self.log}:\n'
                f'{self.tail()}'
            )

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        return '\n'.join(self.log.read_text(encoding='utf-8', errors='replace').splitlines()[-lines:])

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    def __exit__(self, *exception: object) -> None:
        assert self._process is not None
        for number, grace_s in _GRACE_S.items():
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace_s)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that child processes are ended before this one."""

    def unwind(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
