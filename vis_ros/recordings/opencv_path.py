"""opencv_path: the path of a video for OpenCV, which crashes where a name is not Unicode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def opencv_path(path: Path) -> Iterator[str]:
    """A path to the same file, which may not exist yet. It is valid in the block only; a file that was opened there
    stays open.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory(prefix='vis_ros_') as folder:
            link = Path(folder) / f'video{path.suffix}'
            link.symlink_to(os.path.abspath(path))
            yield str(link)
    else:
        yield str(path)
