"""Where vis_ros keeps files that it can make or fetch again."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


def user_cache(*folders: str) -> Path:
    """The cache folder of this user: $XDG_CACHE_HOME/vis_ros, or ~/.cache/vis_ros, and `folders` below it.

    A user without a home directory has one that lasts as long as the process.
    """
    try:
        root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    except RuntimeError:
        root = Path(_of_this_process().name)
    return root.joinpath('vis_ros', *folders)


@cache
def _of_this_process() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix='vis_ros_')
