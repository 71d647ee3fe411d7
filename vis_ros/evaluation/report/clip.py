"""A short clip as a data URI: H.264 where PyAV is installed, otherwise animated WebP."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

RATE = 6
"""Frames per second."""

NEEDED = 'clips need PyAV (`pip install av`) or OpenCV 4.11'

_WEBP_QUALITY = 55
_H264_CRF = '27'

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedClip:
    """A data URI, and the HTML element that plays it."""

    uri: str
    element: Literal['video', 'img']


def make_clip(images: Sequence[Image]) -> EncodedClip | None:
    """Encode images of one size, (H, W, 3) uint8 BGR; None if nothing installed can, or without images."""
    if not images:
        return None
    if (video := _h264(images)) is not None:
        return EncodedClip(f'data:video/mp4;base64,{base64.b64encode(video).decode()}', 'video')
    if (animation := _webp(images)) is not None:
        return EncodedClip(f'data:image/webp;base64,{base64.b64encode(animation).decode()}', 'img')
    return None


def _h264(images: Sequence[Image]) -> bytes | None:
    try:
        import av
    except ImportError:
        return None
    if 'libx264' not in av.codecs_available:
        return None
    height, width = (side // 2 * 2 for side in images[0].shape[:2])  # 4:2:0 color needs even sides
    file = io.BytesIO()
    with av.open(file, 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=RATE, options={'crf': _H264_CRF})
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format='bgr24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _webp(images: Sequence[Image]) -> bytes | None:
    if not hasattr(cv2, 'imencodeanimation'):
        return None
    animation = cv2.Animation()
    animation.frames = list(images)
    animation.durations = [1000 // RATE] * len(images)
    written, encoded = cv2.imencodeanimation('.webp', animation, (cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY))
    return encoded.tobytes() if written else None
