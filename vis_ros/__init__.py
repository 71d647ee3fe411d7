"""Video instance segmentation for ROS 2: detects, segments and tracks every object in a camera stream.

>>> import vis_ros
>>> model = vis_ros.load('demo')
>>> tracker = model.tracker()                           # one per camera
>>> for frame in vis_ros.open('drive.mcap'):            # a bag, a video, an image or a folder of images
...     objects = tracker.step(frame.image, frame.stamp)
...     print(objects)

Importing this package imports neither torch nor rclpy nor OpenCV.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vis_ros.instances import Instances
    from vis_ros.recordings.opening import open_recording as open
    from vis_ros.tracking.model import Model, load
    from vis_ros.tracking.prompts import PromptError
    from vis_ros.tracking.settings import NodeSettings, Settings
    from vis_ros.tracking.tracker import Tracker

# Threads of the network sleep while they wait for each other instead of spinning: on a machine that is busy with other
# processes, spinning has made an image take seconds instead of a tenth of a second. torch reads this when it is
# imported, later.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

# OpenCV refuses larger images of any format before it decodes them. It reads this when it is imported, later.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(1 << 26))

# The messages of OpenCV and FFmpeg do not say what to do; what cannot be decoded is an error of this package.
os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')

# Hand-written modules and the generated vis_ros.msg may lie in two places at once: a checkout and an install prefix.
__path__ = __import__('pkgutil').extend_path(__path__, __name__)

__version__ = '0.1.0'

__all__ = ['Instances', 'Model', 'NodeSettings', 'PromptError', 'Settings', 'Tracker', 'load', 'open']

_HOMES = {
    'Instances': 'vis_ros.instances',
    'Model': 'vis_ros.tracking.model',
    'NodeSettings': 'vis_ros.tracking.settings',
    'PromptError': 'vis_ros.tracking.prompts',
    'Settings': 'vis_ros.tracking.settings',
    'Tracker': 'vis_ros.tracking.tracker',
    'load': 'vis_ros.tracking.model',
    'open': 'vis_ros.recordings.opening',
}


def __getattr__(name: str) -> Any:
    """Import the front door when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), 'open_recording' if name == 'open' else name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
