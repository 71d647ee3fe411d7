"""Drawing: tracked instances on an image, and many images on a contact sheet. numpy and OpenCV only.

>>> from vis_ros.visualization import identity_color
>>> identity_color(1) == identity_color(25)  # BGR
True
"""

from vis_ros.visualization.class_image import class_image
from vis_ros.visualization.contact_sheet import VideoSheet, contact_sheet
from vis_ros.visualization.overlay import LABELS, Labels, draw_overlay
from vis_ros.visualization.palette import identity_color
from vis_ros.visualization.truth_marks import TruthMarks

__all__ = [
    'LABELS',
    'Labels',
    'TruthMarks',
    'VideoSheet',
    'class_image',
    'contact_sheet',
    'draw_overlay',
    'identity_color',
]
