"""YoutubeVisResults: results.json in the layout of YouTube-VIS results, one row for each identity of each video."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from vis_ros.datasets.rle import encode_crop
from vis_ros.instances import Instances

LARGEST = 50_000_000
"""Places for masks that a file may have, most of them `null` (about 250 MB): the layout has one for each frame in the
row of each identity, which is made for clips."""


@dataclass
class _Row:
    """An identity: in which frames it was, and where the masks of these are in the spool."""

    frames: array[int] = field(default_factory=lambda: array('Q'))
    places: array[int] = field(default_factory=lambda: array('Q'))
    score: float = 0.0
    classes: Counter[int] = field(default_factory=Counter)


class YoutubeVisResults:
    """Collects the masks of many frames in a file, because a row can be written when its last mask is known only.

    Use it as a context manager. The rows are those of the YouTube-VIS challenge: video_id (1 + position of the video),
    score (mean over the frames of the identity), category_id (1 + the class id of most of its frames, the lowest of
    several) and segmentations, one a frame of the recording: COCO's compressed run-length code, or null.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare to write `folder/results.json`; the masks wait in an unnamed file in `folder`."""
        self._path = folder / 'results.json'
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # it is closed with this object
        self._size = 0
        self._rows: dict[tuple[int, int, int], _Row] = {}
        self._lengths: dict[int, int] = {}

    def __enter__(self) -> YoutubeVisResults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def add(self, video_id: int, frame: int, epoch: int, instances: Instances) -> None:
        """Add the tracked objects of the frame at position `frame` of a video."""
        self.extend(video_id, frame + 1)
        if instances.track_ids is None:
            raise ValueError('Instances.track_ids is None: only tracked instances make a row')
        for position, track_id in enumerate(instances.track_ids.tolist()):
            row = self._rows.setdefault((video_id, epoch, track_id), _Row())
            row.frames.append(frame)
            row.places.append(self._size)
            row.score += float(instances.scores[position])
            row.classes[int(instances.class_ids[position])] += 1
            code = encode_crop(instances.masks[position], instances.rois[position].tolist(), instances.image_size)
            text = json.dumps({'size': list(code['size']), 'counts': code['counts'].decode('ascii')})
            self._size += self._spool.write(text.encode('ascii') + b'\n')

    def extend(self, video_id: int, frames: int) -> None:
        """Let a video have at least so many frames."""
        self._lengths[video_id] = max(frames, self._lengths.get(video_id, 0))

    def write(self) -> str:
        """Write the file: rows in the order of video, epoch and identity. Returns '', or why there is none."""
        places = sum(self._lengths[video_id] for video_id, _, _ in self._rows)
        if places > LARGEST:
            return (
                f'{len(self._rows)} identities, each with a place for every frame of its video, make {places} places; '
                f'more than {LARGEST} are not written. results.jsonl and the bag have all masks'
            )
        with self._path.open('w', encoding='ascii') as file:
            file.write('[')
            for number, (key, row) in enumerate(sorted(self._rows.items())):
                head = {
                    'video_id': key[0],
                    'score': round(row.score / len(row.frames), 6),
                    'category_id': 1 + min(row.classes, key=lambda class_id: (-row.classes[class_id], class_id)),
                }
                file.write(',\n' if number else '\n')
                file.write(json.dumps(head)[:-1] + ', "segmentations": [')
                position = 0
                for frame, place in zip(row.frames, row.places, strict=True):
                    self._spool.seek(place)
                    file.write('null,' * (frame - position))
                    file.write(self._spool.readline().decode('ascii').rstrip('\n'))
                    position = frame + 1
                    file.write(',' if position < self._lengths[key[0]] else '')
                nulls = ['null'] * (self._lengths[key[0]] - position)
                file.write(','.join(nulls) + ']}')
            file.write('\n]\n')
        return ''
