"""VideoSummary: the frames, tracks, classes and scores of a whole video, without its masks.

Writers need it before they write the first frame, evaluation needs it to align videos and to score tracks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from vis_ros.datasets.coco_rle import Rle
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo


@dataclass(frozen=True)
class FrameKey:
    """What identifies a frame, see `AnnotatedFrame`."""

    name: str
    index: int
    stamp_ns: int | None


@dataclass
class TrackSummary:
    """One object over its video.

    Attributes:
        track_id: its id.
        frames: number of frames that show it.
        score_sum: sum of its scores over these frames.
        votes: class id -> number of frames with this class.
    """

    track_id: int
    frames: int = 0
    score_sum: float = 0.0
    votes: Counter[int] = field(default_factory=Counter)

    @property
    def class_id(self) -> int:
        """The most frequent class; the lowest id if several are equally frequent (as in MaskTrack R-CNN)."""
        return min(self.votes, key=lambda class_id: (-self.votes[class_id], class_id))

    @property
    def score(self) -> float:
        """Mean score over the frames that show the object, as in YouTube-VIS results."""
        return self.score_sum / self.frames


@dataclass
class VideoSummary:
    """One video.

    Attributes:
        name: of the video.
        tracks: by track id.
        frames, sizes: key and (height, width) of each frame.
        images: number of frames with an image.
        scored: number of objects with a score below 1, over all frames.
        ignored: number of frames with an ignored region.
    """

    name: str
    tracks: dict[int, TrackSummary] = field(default_factory=dict)
    frames: list[FrameKey] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    images: int = 0
    scored: int = 0
    ignored: int = 0

    @property
    def names(self) -> list[str]:
        """Names of the frames."""
        return [frame.name for frame in self.frames]

    @property
    def stamps(self) -> list[int | None]:
        """Stamps of the frames in nanoseconds."""
        return [frame.stamp_ns for frame in self.frames]

    @property
    def stamped(self) -> int:
        """Number of frames with a stamp."""
        return sum(frame.stamp_ns is not None for frame in self.frames)

    @property
    def masks(self) -> int:
        """Number of objects over all frames."""
        return sum(track.frames for track in self.tracks.values())

    def add(self, frame: AnnotatedFrame) -> None:
        """Count the next frame. Its masks are not kept."""
        columns = (frame.track_ids.tolist(), frame.class_ids.tolist(), frame.scores.tolist())
        for track_id, class_id, score in zip(*columns, strict=True):
            track = self.tracks.setdefault(track_id, TrackSummary(track_id))
            track.frames += 1
            track.score_sum += score
            track.votes[class_id] += 1
            self.scored += score < 1
        self.frames.append(FrameKey(frame.name, frame.index, frame.stamp_ns))
        self.sizes.append(frame.size)
        self.images += frame.read_image is not None
        self.ignored += frame.ignored is not None


def summarize(video: AnnotatedVideo, on_frame: Callable[[], None] = lambda: None) -> VideoSummary:
    """Read a video once. The tracks are sorted by id."""
    summary = VideoSummary(video.name)
    for frame in video:
        summary.add(frame)
        on_frame()
    summary.tracks = dict(sorted(summary.tracks.items()))
    return summary


def masks_by_track(
    video: AnnotatedVideo,
    summary: VideoSummary,
    on_frame: Callable[[int, AnnotatedFrame], None] = lambda position, frame: None,
) -> dict[int, list[Rle | None]]:
    """Read a video again and collect the masks of each track, all in memory as run lengths.

    Args:
        video: the video.
        summary: of this video.
        on_frame: called with the position and each frame.

    Returns:
        track id -> its mask in each frame, None where the frame does not show it.
    """
    masks: dict[int, list[Rle | None]] = {track_id: [None] * len(summary.frames) for track_id in summary.tracks}
    for position, frame in enumerate(video):
        for track_id, mask in zip(frame.track_ids.tolist(), frame.masks, strict=True):
            masks[track_id][position] = mask
        on_frame(position, frame)
    return masks
