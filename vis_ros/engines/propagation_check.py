"""Check of a propagation network in a reduced precision: compares its masks with those of the same weights in fp32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.accuracy_check import InaccurateEngineError
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.propagation.working_size import working_size
from vis_ros.synthetic.scene import Scene

MIN_IOU = 0.9
"""Least IoU of the masks of each object in the last of the frames."""

_SEED, _FIRST, _STEPS, _OBJECTS = 1, 30, 4, 2
"""Of `vis_ros.synthetic.scene.Scene`; the masks of each frame are fed back into the next one."""


def check_propagation(parts: NetworkParts, exact: NetworkParts, precision: str) -> None:
    """Compare masks that are propagated through a few frames of a synthetic scene.

    Args:
        parts: of the network in a reduced precision.
        exact: of the same network in fp32.
        precision: what to call it.

    Raises:
        InaccurateEngineError: the masks of an object overlap too little.
    """
    found, expected = _labels(parts), _labels(exact)
    for number in range(1, _OBJECTS + 1):
        mine, theirs = found == number, expected == number
        either = np.count_nonzero(mine | theirs)
        iou = np.count_nonzero(mine & theirs) / either if either else 1.0
        if iou < MIN_IOU:
            raise InaccurateEngineError(
                f'{parts.config.architecture} in {precision}: after {_STEPS} frames, a mask overlaps that of fp32 '
                f'with an IoU of only {iou:.2f}'
            )


def _labels(parts: NetworkParts) -> NDArray[np.intp]:
    """Which of the largest objects each pixel of the last frame is on, from 1; 0 is the background."""
    size = working_size(parts.config.input_size, parts.config.input_size)
    scene = Scene(seed=_SEED, size=size)
    first = scene.frame(_FIRST)
    propagator = PROPAGATION_SYSTEMS[parts.config.architecture].propagator(parts)
    largest = np.argsort([-int(mask.sum()) for mask in first.masks], kind='stable')[:_OBJECTS]
    for number, index in enumerate(largest.tolist(), start=1):
        propagator.start(number, first.image, np.asarray(first.masks[index], bool))
    for step in range(1, _STEPS + 1):
        planes = propagator.step(scene.frame(_FIRST + step).image)
    return planes.argmax(0)
