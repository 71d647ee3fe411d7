"""What a whole video holds, as numbers: objects, classes, scores. Writers need it before they write the first frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from vis_ros.datasets.rle import Rle
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo


@dataclass
class Track:
    """One object over its video. frames: in how many it is; votes: class id -> in how many it has this class."""

    track_id: int
    frames: int = 0
    score_sum: float = 0.0
    votes: Counter[int] = field(default_factory=Counter)

    @property
    def class_id(self) -> int:
        """The class that it has in most frames; the lowest of those that tie (MaskTrackRCNN's rule)."""
        return min(self.votes, key=lambda class_id: (-self.votes[class_id], class_id))

    @property
    def score(self) -> float:
        """Mean over the frames in which it is."""
        return self.score_sum / self.frames


@dataclass
class VideoSummary:
    """One video. tracks: by id; names, stamps, sizes: of its frames; pictures: how many frames have one.

    scored: objects with a score below 1, over all frames; ignored: frames with an ignored region.
    """

    name: str
    tracks: dict[int, Track] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    stamps: list[int | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    pictures: int = 0
    scored: int = 0
    ignored: int = 0

    @property
    def stamped(self) -> int:
        """Frames with a stamp."""
        return sum(stamp is not None for stamp in self.stamps)

    @property
    def instances(self) -> int:
        """Objects over all frames."""
        return sum(track.frames for track in self.tracks.values())

    def add(self, frame: AnnotatedFrame) -> None:
        """Count the next frame; its masks are not kept."""
        for track_id, class_id, score in zip(
            frame.track_ids.tolist(), frame.class_ids.tolist(), frame.scores.tolist(), strict=True
        ):
            track = self.tracks.setdefault(track_id, Track(track_id))
            track.frames += 1
            track.score_sum += score
            track.votes[class_id] += 1
            self.scored += score < 1
        self.names.append(frame.name)
        self.stamps.append(frame.stamp_ns)
        self.sizes.append(frame.size)
        self.pictures += frame.read_image is not None
        self.ignored += frame.ignored is not None


def summarise(video: AnnotatedVideo, on_frame: Callable[[], None] = lambda: None) -> VideoSummary:
    """Read a video once. The tracks are in ascending order of their ids."""
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
    """Read a video again: track id -> its mask in each frame, None where it is not; all in memory, as run lengths."""
    masks: dict[int, list[Rle | None]] = {track_id: [None] * len(summary.names) for track_id in summary.tracks}
    for position, frame in enumerate(video):
        for track_id, mask in zip(frame.track_ids.tolist(), frame.masks, strict=True):
            masks[track_id][position] = mask
        on_frame(position, frame)
    return masks
