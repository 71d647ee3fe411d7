"""Where vis_ros keeps files that it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(*folders: str) -> Path:
    """The cache folder of this user: $XDG_CACHE_HOME/vis_ros, or ~/.cache/vis_ros, and `folders` below it."""
    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return root.joinpath('vis_ros', *folders)
