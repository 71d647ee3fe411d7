"""EngineProcess: one engine, warm, in a process of its own, from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.speed.settings import Settings
from vis_ros.ros.isolation import child_environment

_END_S = 20.0


class EngineProcess:
    """Started on entering the context, ended on leaving it; see `benchmarks.speed.worker`.

    start_up: seconds from starting the process to its first result, and what they went to:
        total_s, and of it import_s, load_s (the engine), first_image_s.

    Args:
        settings: what is measured.
        cache: folder that stands in for the user's cache of engines.
        log: file for what the process prints.

    Raises:
        ValueError: the engine cannot do what is asked for; says why.
        ChildProcessError: it failed otherwise; says how its output ends.
    """

    def __init__(self, settings: Settings, cache: Path, log: Path) -> None:
        self.settings = settings
        self.start_up: dict[str, float] = {}
        self._environment = {**child_environment(), 'XDG_CACHE_HOME': str(cache)}
        self._log = log

    def __enter__(self) -> EngineProcess:
        begun = time.perf_counter()
        command = [sys.executable, '-m', 'benchmarks.speed.worker', json.dumps(asdict(self.settings))]
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        try:
            parts = self._answer()
        except BaseException:
            self.__exit__()
            raise
        self.start_up = {'total_s': round(time.perf_counter() - begun, 3), **parts}
        return self

    def call(self, name: str, *arguments: Any) -> Any:
        """What a method of the `Worker` returns."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; `_answer` says how
            self._process.stdin.write(json.dumps([name, *arguments]) + '\n')
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            end = '\n'.join(self._log.read_text(encoding='utf-8', errors='replace').splitlines()[-20:])
            raise ChildProcessError(f'the process of the engine ended with exit status {code}:\n{end}')
        said = json.loads(line)
        if 'error' in said:
            raise ValueError(said['error'])
        return said['answer']

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
