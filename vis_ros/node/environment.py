"""What a process sets in its own environment before ROS starts in it. Imports no ROS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vis_ros.share import share_file


def prepare_environment() -> None:
    """Make ROS in this process find its packages and send images; what the user has set stays as it is.

    Best-effort images do not arrive over the default transports of Fast DDS, which cut them into UDP datagrams; the
    profile that vis_ros ships sends them through shared memory.

    The network's threads sleep while they wait for one another instead of spinning: on a robot whose cores are busy
    with other processes too, spinning made an image take seconds that takes a tenth of one.
    """
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)  # the wheels, where nobody sourced a setup file
    if not os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps'):
        return
    if 'FASTRTPS_DEFAULT_PROFILES_FILE' not in os.environ:  # the older name of the variable
        os.environ.setdefault('FASTDDS_DEFAULT_PROFILES_FILE', str(share_file('config/fastdds_shm.xml')))
