"""VideoWriter: images into an .mp4 file, with the best codec that this OpenCV can write."""

from __future__ import annotations

import mmap
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.recordings.opencv_path import opencv_path
from vis_ros.scratch import ScratchFolder
from vis_ros.whole_file import put

CODECS = {
    'avc1': 'H.264, plays everywhere',
    'vp09': 'VP9, plays in browsers and most players',
    'mp4v': 'MPEG-4 part 2, plays in VLC and mpv but not in browsers',
}
"""FourCC of each codec, best first. Which of them can be written depends on the build of OpenCV: the wheels on PyPI
have no H.264 encoder, and their VP9 takes a third of a second for an image of 960x540, for which mp4v takes 5 ms."""

_LONGEST_VP9_SIDE = 640  # pixels, so that writing the video does not take longer than tracking
_QUEUE = 8  # largest number of images that wait for the encoder


class VideoWriter:
    """Writes images into an .mp4 file, in a thread of its own; use it as a context manager.

    The file appears when it is closed, so that it can always be played.

    codec: the FourCC in use; '' before the first image.
    """

    def __init__(self, path: str | Path, rate: float, codecs: tuple[str, ...] = tuple(CODECS)) -> None:
        """Prepare to write. The first image creates the file and determines its size (VP9: at most 640 pixels on the
        longer side).

        Args:
            path: of the .mp4 file.
            rate: frames per second.
            codecs: FourCCs to try, in this order.
        """
        self.path = Path(path)
        self.codec = ''
        self._rate = rate
        self._codecs = codecs
        self._writer: cv2.VideoWriter | None = None
        self._scratch: ScratchFolder | None = None  # until then
        self._size = (0, 0)
        self._encoder = ThreadPoolExecutor(1, 'vis_video')
        self._pending: deque[Future[None]] = deque()

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append an image, which is resized if its size differs from that of the video.

        Args:
            image: (H, W, 3) uint8 BGR; it must not change any more.

        Raises:
            ValueError: OpenCV can write none of the codecs.
        """
        if self._writer is None:
            self._scratch = ScratchFolder(self.path.parent)
            self._partial = self._scratch.path / self.path.name
            self._writer = self._open(image.shape[1], image.shape[0])
        self._pending.append(self._encoder.submit(self._encode, self._writer, image))
        if len(self._pending) > _QUEUE:
            self._pending.popleft().result()

    def _encode(self, writer: cv2.VideoWriter, image: NDArray[np.uint8]) -> None:
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        writer.write(image)

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: it could not be finished.
        """
        self._encoder.shutdown()
        try:
            if self._writer is not None:
                self._writer.release()
                self._writer = None
                self._check_index()
                put(self._partial, self.path)
            while self._pending:
                self._pending.popleft().result()
        finally:
            if self._scratch is not None:
                self._scratch.close()

    def _check_index(self) -> None:
        """Raise OSError if the file has no index and so cannot be played; OpenCV itself reports no error."""
        if self._partial.stat().st_size:
            with self._partial.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(b'moov') >= 0:
                    return
        raise OSError(f'{self.path} could not be finished: is the disk full?')

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        for codec in self._codecs:
            scale = min(1.0, _LONGEST_VP9_SIDE / max(width, height)) if codec == 'vp09' else 1.0
            self._size = _even(width * scale), _even(height * scale)
            with _quiet(), opencv_path(self._partial) as path:
                writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*codec), self._rate, self._size)
            if writer.isOpened():
                self.codec = codec
                return writer
        raise ValueError(f'OpenCV cannot write {self.path} with any of the codecs {", ".join(self._codecs)}')


def _even(side: float) -> int:
    """The nearest even number of pixels, which 4:2:0 color needs."""
    return max(2, round(side) // 2 * 2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard what FFmpeg prints on standard error: a missing codec is no error, since the next one is tried."""
    sys.stderr.flush()
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)
