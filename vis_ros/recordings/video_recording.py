"""VideoRecording: a video file as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from vis_ros.image_headers import check_size
from vis_ros.images import ImageError
from vis_ros.recordings.opencv_path import opencv_path
from vis_ros.recordings.recording import MISSING, Frame, Recording, Stream, plausible_rate
from vis_ros.ros.stamps import FOLDER_RATE, NS_PER_S

_ISO_BOXES = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip')


class VideoRecording(Recording):
    """A video file that OpenCV can decode; stamps are those of the container.

    The number of frames is that of the container where it counts them (MP4, MOV, AVI), and unknown where it only has a
    duration.
    """

    def __init__(self, path: Path, name: str = '') -> None:
        self._path = path
        capture = self._open()
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        self._codec = (
            int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little', signed=True).decode('latin-1').strip('\0')
        )
        capture.release()
        try:
            check_size(max(width, 1), max(height, 1))
        except ImageError as error:
            raise ValueError(f'{path}: {error}') from error
        count = frames if frames > 0 and _counts_frames(path) else None
        stream = Stream(name, count, plausible_rate(rate))
        super().__init__(path, f'video {path} ({width}x{height})', [stream])

    def _open(self) -> cv2.VideoCapture:
        with opencv_path(self._path) as path:
            capture = cv2.VideoCapture(path)
        if not capture.isOpened():
            raise ValueError(
                f'{self._path} is not a video that OpenCV can read: it is corrupt, or of an unknown format or codec. '
                f'If another player opens it, re-encode it: {_encode(self._path)}'
            )
        return capture

    def _read(self, stride: int) -> Iterator[Frame]:
        capture = self._open()
        period = 1 / (self.rate or FOLDER_RATE)
        index, stamp = 0, -period
        try:
            while True:
                readable, image = capture.read()
                if not readable:
                    break
                container_stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                stamp = container_stamp if container_stamp > stamp else stamp + period
                if index % stride == 0:
                    stamp_ns = round(stamp * NS_PER_S)
                    yield Frame(image, stamp_ns, '', f'frame {index}', index, stream=self.streams[0].name)
                index += 1
        finally:
            capture.release()
        if not index:
            self.last_problem = (
                f'this OpenCV cannot decode its codec {self._codec!r}, or the file is damaged. Re-encode it: '
                f'{_encode(self._path)}'
            )
        elif self.count is not None and index < self.count:
            problem = (
                f'the file lists {self.count} frames, but {index} can be read: an edit list cuts it, or it is damaged'
            )
            self.skip(MISSING, problem, self.count - index)


def _encode(path: Path) -> str:
    return f'ffmpeg -i {path} -c:v libx264 NEW.mp4'


def _counts_frames(path: Path) -> bool:
    """Whether the container has a table of its frames, from which their number is known."""
    with path.open('rb') as file:
        start = file.read(12)
        if start[:4] == b'RIFF':
            return True
        if start[4:8] not in _ISO_BOXES:
            return False
        size, position = path.stat().st_size, 0
        while position + 8 <= size:  # a file in fragments has their frames in no table
            file.seek(position)
            head = file.read(16)
            if head[4:8] == b'moof':
                return False
            length = int.from_bytes(head[8:16] if head[:4] == b'\0\0\0\1' else head[:4], 'big')
            if length < 8:
                break
            position += length
    return True
