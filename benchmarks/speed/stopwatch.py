"""Stopwatch: how long some functions take inside of others that know nothing of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any


class Stopwatch:
    """Adds up the time in each of some functions; one thread.

    seconds: by name, since `restart`.
    calls: by name, since the beginning.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def restart(self) -> None:
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    @contextmanager
    def watching(self, functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
        """Time every call of functions of this package, from wherever in it they are called.

        That is done in place of the functions, in the modules that are loaded by now, and undone at the end: the
        package itself pays nothing for being measured.

        Args:
            functions: by the name under which their time is kept.
        """
        timed = {name: self._timed(name, function) for name, function in functions.items()}
        for name, function in functions.items():
            _replace(function, timed[name])
        try:
            yield
        finally:
            for name, function in functions.items():
                _replace(timed[name], function)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds[name], self.calls[name] = 0.0, 0

        @wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds[name] += time.perf_counter() - start
                self.calls[name] += 1

        return timed


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Put another function in the place of one, under every name that a module of this package has for it."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)


def _modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.split('.')[0] == 'vis_ros']
