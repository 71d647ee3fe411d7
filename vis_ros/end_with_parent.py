"""Child processes that do not go on when this process is killed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), 'prctl', None)  # only Linux has it


def end_with_parent() -> None:
    """For `preexec_fn` of a child process: it gets SIGTERM when this process ends, however that happens."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_worker_with_parent() -> None:
    """In a process of `multiprocessing`: end it when the process that started it ends, however that happens."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
