"""end_with_parent: child processes that do not go on when this process is killed."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), 'prctl', None)  # only Linux has it


def end_with_parent() -> None:
    """For `preexec_fn` of a child process: it gets SIGTERM when this process ends, however that happens."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
