"""PhotoFiles: the files that a replay writes for a folder of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.claim import claim
from vis_ros.images import write_image_file
from vis_ros.instances import Instances
from vis_ros.replay.offline.record_files import RecordFiles
from vis_ros.visualization import Labels, VideoSheet, draw_overlay

OVERLAYS = 'overlays'
"""Folder of the images with the objects drawn."""


class PhotoFiles:
    """Writes results.jsonl, contact_sheet.png and an image in OVERLAYS for each photo; close it after the last photo.

    codec: '', since there is no video.
    """

    codec = ''

    def __init__(self, folder: Path, labels: Labels = 'full') -> None:
        """Create the folder if needed. `labels`: what the tags have, see `draw_overlay`."""
        self._labels: Labels = labels
        claim(folder / OVERLAYS)
        self._overlays = folder / OVERLAYS
        self._sheet, self._sheet_path = VideoSheet(16), folder / 'contact_sheet.png'
        self._records = RecordFiles(folder)

    def add(self, image: NDArray[np.uint8] | None, instances: Instances, record: dict[str, Any]) -> None:
        """Write a photo and the objects found in it; arguments as of `VideoFiles.add`."""
        assert image is not None
        self._records.add(image, instances, record)
        overlay = draw_overlay(image, instances, self._labels)
        path = self._overlays / f'{record["name"]}.jpg'  # photos may differ in their suffix only
        write_image_file(path, overlay)
        self._sheet.add(overlay, record['name'])

    def close(self) -> None:
        """Finish the files."""
        self._records.close()
        if len(self._sheet):
            self._sheet.write(self._sheet_path)
