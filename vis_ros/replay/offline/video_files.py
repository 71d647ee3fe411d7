"""VideoFiles: the files that a replay writes for one video: results.jsonl, an overlay video and a contact sheet."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.recordings.video_writer import CODECS, VideoWriter
from vis_ros.replay.offline.record_files import RecordFiles
from vis_ros.visualization import Labels, VideoSheet, draw_overlay

NAMES = ('results.jsonl', 'overlay.mp4', 'contact_sheet.png')
"""Names of the files."""

SLOWEST_VIDEO = 0.1
"""Frames per second; codecs accept no lower rate."""


class VideoFiles:
    """Writes results.jsonl, overlay.mp4 and contact_sheet.png; close it at the end of the video.

    codec: FourCC of the overlay video, '' before the first frame.
    """

    def __init__(
        self, folder: Path, rate: float, codecs: tuple[str, ...] = tuple(CODECS), labels: Labels = 'full'
    ) -> None:
        """Create the folder if needed; existing files of these names are replaced.

        Args:
            folder: where the files go.
            rate: frames per second of the overlay video.
            codecs: FourCCs for it, see `VideoWriter`.
            labels: what the tags in the pictures have, see `draw_overlay`.
        """
        self._labels: Labels = labels
        self._records = RecordFiles(folder)
        self._sheet, self._sheet_path = VideoSheet(16), folder / 'contact_sheet.png'
        self._video = VideoWriter(folder / 'overlay.mp4', rate, codecs)
        self._start: float | None = None

    @property
    def codec(self) -> str:
        return self._video.codec

    def add(self, image: NDArray[np.uint8] | None, instances: Instances, record: dict[str, Any]) -> None:
        """Append a frame: its record and, if its image is there, a picture of its tracks."""
        self._records.add(image, instances, record)
        self._start = record['stamp'] if self._start is None else self._start
        if image is not None:
            overlay = draw_overlay(image, instances, self._labels)
            self._video.write(overlay)
            self._sheet.add(overlay, f'{record["stamp"] - self._start:.2f} s  {record["name"]}')

    def close(self) -> None:
        """Finish the files."""
        with closing(self._records), closing(self._video):
            pass
        if len(self._sheet):
            self._sheet.write(self._sheet_path)
