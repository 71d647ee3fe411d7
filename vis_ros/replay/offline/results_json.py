"""ResultsJson: results.json in the layout of YouTube-VIS results, one row per track of each video."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from vis_ros.instances import Instances
from vis_ros.masks.rle import MaskRuns, compress, mask_runs
from vis_ros.whole_file import naming, whole_file

LARGEST = 50_000_000
"""Largest number of mask entries in a file, most of them `null` (about 250 MB). The layout is made for clips: the row
of each track has one entry for each frame of its video."""


@dataclass
class _Row:
    """One track: the frames it is in, the offsets of its masks in the temporary file (of several in a frame that of the
    last), and the sum of the scores of its detections."""

    frames: array[int] = field(default_factory=lambda: array('Q'))
    offsets: array[int] = field(default_factory=lambda: array('Q'))
    score: float = 0.0
    detections: int = 0
    classes: Counter[int] = field(default_factory=Counter)


class ResultsJson:
    """Collects the masks of all frames in a temporary file, since a row is complete only with its last mask.

    Use it as a context manager. The rows are those of the YouTube-VIS challenge: video_id (1 + position of the video),
    score (mean over the frames of the track), category_id (1 + its most frequent class id, the lowest if several are)
    and segmentations, one per frame of the recording: COCO's compressed run-length code, or null.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare to write `folder/results.json`; until then the masks are in an unnamed file in `folder`."""
        self._path = folder / 'results.json'
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # it is closed with this object
        self._size = 0
        self._rows: dict[tuple[int, int, int], _Row] = {}
        self._lengths: dict[int, int] = {}

    def __enter__(self) -> ResultsJson:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._path):
            self._spool.close()

    def add(
        self, video_id: int, frame: int, epoch: int, instances: Instances, runs: Sequence[MaskRuns] | None = None
    ) -> None:
        """Add the tracked objects of one frame.

        Args:
            video_id: of the video, from 1.
            frame: position in the video, from 0.
            epoch: track ids are unique within one epoch.
            instances: tracked.
            runs: the run lengths of each mask, if the caller has them; otherwise they are computed here.
        """
        self.extend(video_id, frame + 1)
        if instances.track_ids is None:
            raise ValueError('Instances.track_ids is None, but only tracked instances have a row in results.json')
        if runs is None:
            runs = mask_runs(instances.masks, instances.rois, instances.image_size)
        for index, track_id in enumerate(instances.track_ids.tolist()):
            row = self._rows.setdefault((video_id, epoch, track_id), _Row())
            if row.frames and row.frames[-1] == frame:  # the published rules may give one id to two detections
                row.offsets[-1] = self._size
            else:
                row.frames.append(frame)
                row.offsets.append(self._size)
            row.score += float(instances.scores[index])
            row.detections += 1
            row.classes[int(instances.class_ids[index])] += 1
            counts = compress(runs[index].image).decode('ascii')
            text = json.dumps({'size': list(instances.image_size), 'counts': counts})
            with naming(self._path):
                self._size += self._spool.write(text.encode('ascii') + b'\n')

    def extend(self, video_id: int, frames: int) -> None:
        """Set the number of frames of a video, unless it is known to have more."""
        self._lengths[video_id] = max(frames, self._lengths.get(video_id, 0))

    def write(self) -> str:
        """Write the file, rows sorted by video, epoch and track id. Returns '', or why it is not written."""
        entries = sum(self._lengths[video_id] for video_id, _, _ in self._rows)
        if entries > LARGEST:
            return (
                f'{len(self._rows)} tracks with one entry for each frame of their video make {entries} entries; the '
                f'limit is {LARGEST}. results.jsonl and the bag have all masks'
            )
        with whole_file(self._path) as partial, partial.open('w', encoding='ascii') as file:
            file.write('[')
            for number, (key, row) in enumerate(sorted(self._rows.items())):
                head = {
                    'video_id': key[0],
                    'score': round(row.score / row.detections, 6),
                    'category_id': 1 + min(row.classes, key=lambda class_id: (-row.classes[class_id], class_id)),
                }
                file.write(',\n' if number else '\n')
                file.write(json.dumps(head)[:-1] + ', "segmentations": [')
                position = 0
                for frame, offset in zip(row.frames, row.offsets, strict=True):
                    self._spool.seek(offset)
                    file.write('null,' * (frame - position))
                    file.write(self._spool.readline().decode('ascii').rstrip('\n'))
                    position = frame + 1
                    file.write(',' if position < self._lengths[key[0]] else '')
                nulls = ['null'] * (self._lengths[key[0]] - position)
                file.write(','.join(nulls) + ']}')
            file.write('\n]\n')
        return ''
