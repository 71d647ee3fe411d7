"""What a process sets in its own environment before ROS starts in it. Imports no ROS."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from vis_ros.ros.share import share_file

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES, _LARGEST_FROM_HEAP = 256 << 20, 32 << 20


def prepare_environment() -> None:
    """Make ROS in this process find its packages and send images; what the user has set stays as it is.

    Best-effort images do not arrive over the default transports of Fast DDS, which cut them into UDP datagrams; the
    profile that vis_ros ships sends them through shared memory.

    The network's threads sleep while they wait for one another instead of spinning: on a robot whose cores are busy
    with other processes too, spinning made an image take seconds that takes a tenth of one.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    _keep_freed_memory()
    if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)  # the wheels, where nobody sourced a setup file
    if not os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps'):
        return
    if 'FASTRTPS_DEFAULT_PROFILES_FILE' not in os.environ:  # the older name of the variable
        os.environ.setdefault('FASTDDS_DEFAULT_PROFILES_FILE', str(share_file('config/fastdds_shm.xml')))


def _keep_freed_memory() -> None:
    """Keep freed memory for the next image instead of giving it back to the kernel.

    An image is copied several times on its way from DDS to an array, each time into memory that glibc has just fetched
    from the kernel page by page and will give back at once. A 720p image took 12 ms to arrive that way, and 7 without.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # not every C library has it
    if mallopt is not None and not os.environ.keys() & {'MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_'}:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP)
