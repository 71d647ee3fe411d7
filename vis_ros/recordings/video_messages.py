"""The video packet in a serialized message, of any type that can have one."""

from __future__ import annotations

from vis_ros.image_headers import ImageError
from vis_ros.recordings.topics import COMPRESSED_TYPE, FFMPEG_TYPE, VIDEO_TYPES
from vis_ros.ros.serialized_images import FieldReader
from vis_ros.video.video_packet import VideoPacket, codec_of


def is_video_packet(message: bytes, type: str) -> bool:
    """Whether there is a video packet in a message of IMAGE_TYPES that can be read."""
    try:
        return read_video_packet(message, type) is not None
    except ImageError:
        return False


def read_video_packet(message: bytes, type: str) -> VideoPacket | None:
    """The video packet in a message of IMAGE_TYPES; None if it has an image of its own.

    Raises:
        ImageError: the message is not whole, or its video is of a codec that is not read.
    """
    if type not in (*VIDEO_TYPES, COMPRESSED_TYPE):
        return None
    reader = FieldReader(message)
    reader.header()
    if type == COMPRESSED_TYPE:
        codec = codec_of(reader.text())
        return None if codec is None else VideoPacket(codec, reader.bytes().tobytes())
    if type == FFMPEG_TYPE:
        reader.number()  # width
        reader.number()  # height
        format = reader.text()
        reader.long()  # pts
        reader.byte()  # flags
        reader.byte()  # is_bigendian
        data = reader.bytes().tobytes()
    else:
        data = reader.bytes().tobytes()
        format = reader.text()
    codec = codec_of(format)
    if codec is None:
        raise ImageError(f'video of format {format!r} is not supported; supported are h264 and h265')
    return VideoPacket(codec, data)
