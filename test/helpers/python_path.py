"""PYTHONPATH for child processes."""

import os


def python_path(*folders: object) -> str:
    """These folders in front of the PYTHONPATH that is set: of a ROS installation or a colcon workspace."""
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get('PYTHONPATH', '')]))
