"""The instances as flat areas in the colors of their classes."""

from __future__ import annotations

import numpy as np

from vis_ros.instances import LOST, Instances
from vis_ros.visualization.outlines import Image, draw_contours, mask_contours
from vis_ros.visualization.palette import WHITE, identity_color


def class_image(instances: Instances) -> Image:
    """(H, W, 3) uint8 BGR: every instance in the color of its class, with an outline that separates it from others of
    the same class; black where there is none. Where masks overlap, the one with the higher score is on top.
    """
    canvas = np.zeros((*instances.image_size, 3), np.uint8)
    for index in np.argsort(instances.scores, kind='stable').tolist():
        if instances.states is not None and instances.states[index] == LOST:
            continue
        roi, mask = instances.rois[index].tolist(), instances.masks[index]
        x0, y0, x1, y1 = roi
        canvas[y0:y1, x0:x1][mask != 0] = identity_color(int(instances.class_ids[index]) + 1)
        draw_contours(canvas, mask_contours(mask, roi), WHITE)
    return canvas
