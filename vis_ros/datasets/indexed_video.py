"""IndexedVideo: an annotated video whose frames can be read one by one, so that a bad one does not hide the next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo


class IndexedVideo(AnnotatedVideo):
    """Frames 0 ... length - 1, each read on its own."""

    @abstractmethod
    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`. Raises AnnotationError where it cannot be read; other frames still can."""

    def empty_masks(self, index: int) -> list[int]:
        """Ids of objects that the format lists in a frame with a mask without a pixel; `frame` leaves them out."""
        return []

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        return (self.frame(index) for index in range(self.length))
