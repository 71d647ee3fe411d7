"""VideoRecording: a video file as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from vis_ros.recordings.recording import UNREADABLE, Frame, Recording, Stream, plausible_rate
from vis_ros.ros.stamps import FOLDER_RATE, NS_PER_S


class VideoRecording(Recording):
    """A video file that OpenCV can decode; stamps are those of the container."""

    def __init__(self, path: Path, name: str = '') -> None:
        self._path = path
        capture = self._open()
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        stream = Stream(name, frames if frames > 0 else None, plausible_rate(rate))
        super().__init__(path, f'video {path} ({width}x{height})', [stream])

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ValueError(f'{self._path} is not a video that OpenCV can read: it is corrupt or of an unknown format')
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
        if self.count is not None and index < self.count:
            problem = (
                f'the file lists {self.count} frames, but {index} can be read: an edit list cuts it, or it is damaged'
            )
            self.skip(UNREADABLE, problem, self.count - index)
