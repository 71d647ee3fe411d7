"""What a format cannot hold of the videos that are written in it: counted while writing, told at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from vis_ros.datasets.track_summary import VideoSummary


@dataclass
class ConversionLosses:
    """Counts over all videos; a writer counts only what it loses.

    objects: all of them, whatever is lost. ids, changing: objects with a new id, objects whose class changes over time.
    classes: objects without their class. scores, hidden: objects in frames without their score, without a pixel left.
    stamps, names: frames. taken: pixels that overlapping objects lost. others: in words.
    """

    objects: int = 0
    ids: int = 0
    changing: int = 0
    classes: int = 0
    scores: int = 0
    stamps: int = 0
    names: int = 0
    taken: int = 0
    hidden: int = 0
    others: list[str] = field(default_factory=list)

    def count(self, summary: VideoSummary) -> None:
        """Count the objects of a video, and those that change their class."""
        self.objects += len(summary.tracks)
        self.changing += sum(len(track.votes) > 1 for track in summary.tracks.values())

    def in_words(self) -> list[str]:
        """One text for each kind of loss that occurred."""
        told = [
            (self.classes, f'the classes of {self.classes} objects'),
            (self.ids, f'the ids of {self.ids} of {self.objects} objects: they have new ones'),
            (
                self.changing,
                f'changes of class of {self.changing} of {self.objects} objects: the most frequent is kept',
            ),
            (self.scores, f'{self.scores} scores of objects in frames'),
            (self.stamps, f'the stamps of {self.stamps} frames'),
            (self.names, f'the names of {self.names} frames: they are counted from 0'),
            (self.taken, f'{self.taken} pixels of overlaps: they went to the higher score, or to the smaller object'),
            (self.hidden, f'{self.hidden} objects in frames that have no pixel of their own'),
        ]
        return [text for count, text in told if count] + self.others
