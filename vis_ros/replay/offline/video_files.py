"""VideoFiles: the files that a replay writes for one video: results.jsonl, an overlay video and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vis_ros.instances import Instances
from vis_ros.masks.rle import MaskRuns
from vis_ros.recordings.recording import Frame
from vis_ros.recordings.video_writer import VideoWriter
from vis_ros.replay.records import frame_record
from vis_ros.ros.stamps import NS_PER_S
from vis_ros.visualization import VideoSheet, draw_overlay

NAMES = ('results.jsonl', 'overlay.mp4', 'contact_sheet.png')
"""Names of the files."""


class VideoFiles:
    """Writes results.jsonl, overlay.mp4 and contact_sheet.png; close it at the end of the video.

    codec: FourCC of the overlay video, '' before the first frame.
    """

    def __init__(self, folder: Path, rate: float, codecs: tuple[str, ...]) -> None:
        """Create the folder if needed; existing files of these names are replaced.

        Args:
            folder: where the files go.
            rate: frames per second of the overlay video.
            codecs: FourCCs for it, see `VideoWriter`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._sheet, self._sheet_path = VideoSheet(16), folder / 'contact_sheet.png'
        self._video = VideoWriter(folder / 'overlay.mp4', rate, codecs)
        self._start_ns: int | None = None
        self._records = (folder / 'results.jsonl').open('w', encoding='utf-8')

    @property
    def codec(self) -> str:
        return self._video.codec

    def add(self, frame: Frame, epoch: int, instances: Instances, runs: Sequence[MaskRuns] | None = None) -> None:
        """Append a frame and the objects found in it; `runs` as for `frame_record`."""
        has_clock = frame.has_clock and frame.recorded_ns is not None
        record = frame_record(frame.index, frame.stamp_ns, frame.name, epoch, instances, has_clock, runs)
        self._records.write(json.dumps(record) + '\n')
        overlay = draw_overlay(frame.image, instances)
        self._video.write(overlay)
        self._start_ns = frame.stamp_ns if self._start_ns is None else self._start_ns
        self._sheet.add(overlay, f'{(frame.stamp_ns - self._start_ns) / NS_PER_S:.2f} s  {frame.name}')

    def close(self) -> None:
        """Finish the files."""
        self._records.close()
        self._video.close()
        if len(self._sheet):
            self._sheet.write(self._sheet_path)
