"""The environment that a process prepares for ROS."""

import os
import subprocess
import sys

import pytest

from vis_ros.ros import isolation


def test_the_domain_of_a_running_node_is_not_free(graph):
    own = int(os.environ['ROS_DOMAIN_ID'])
    assert own not in {isolation.free_domain() for _ in range(300)}
    assert 1 <= isolation.free_domain() <= 101


FAULTS = """
import resource, sys
from vis_ros.ros.environment import prepare_environment
if sys.argv[1] == 'prepared':
    prepare_environment()
def images():
    for _ in range(20):
        first, second = bytearray(3 << 20), bytearray(3 << 20)
        del first, second
images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(preparation, **variables):
    """Page faults of allocating 20 times two images in a new process."""
    environment = {**os.environ, **variables}
    return int(subprocess.check_output([sys.executable, '-c', FAULTS, preparation], text=True, env=environment))


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs glibc')
def test_memory_of_images_is_reused():
    """An image of 3 MiB has 768 pages."""
    assert page_faults('prepared') < 768
    trimming = {'MALLOC_TRIM_THRESHOLD_': '131072', 'MALLOC_MMAP_THRESHOLD_': '131072'}
    assert page_faults('prepared', **trimming) > 20 * 768  # variables of the user are kept
