"""UnconvergedImages: counts the images for which non-maximum suppression did not converge."""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


class UnconvergedImages:
    """A counter that logs a warning for the first such image only.

    Exported graphs run non-maximum suppression for a fixed number of rounds (`vis_ros.export.static_nms`), which may
    be too few for an image with long chains of overlapping boxes.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, images: int) -> None:
        """Count further images."""
        if images and not self.count:
            _log.warning(
                'non-maximum suppression did not converge on an image with many overlapping boxes: its result may '
                'contain a duplicate object or miss one. This is logged once; the diagnostics count such images'
            )
        self.count += images
