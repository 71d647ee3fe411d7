"""Tracker: the protocol of everything that turns the images of one camera into tracked instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances

if TYPE_CHECKING:
    from vis_ros.tracking.settings import Settings

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Point = tuple[float, float]


class Tracker(Protocol):
    """All state of one camera that lives across frames. Not safe for several threads, except `lost` and
    `identities`.
    """

    class_names: tuple[str, ...]
    """Of the class ids in the result."""

    @property
    def identities(self) -> int:
        """Number of tracks in memory."""
        ...

    @property
    def lost(self) -> int:
        """Number of tracks that are LOST and still reported; 0 for trackers that do not report lost tracks."""
        ...

    @property
    def state(self) -> Mapping[str, object]:
        """What else diagnostics should report, by name. May be read from any thread."""
        ...

    def step(
        self, image: Image, stamp: float, found: Instances | None = None, *, after: Image | None = None
    ) -> Instances:
        """Track the objects of the next image.

        Args:
            image: (height, width, 3) uint8 BGR.
            stamp: time of the image in seconds, not before that of the previous one.
            found: what the engine found in the image, if the caller has run it already, on images of several cameras
                at once.
            after: the image that follows it, which only trackers with the setting `delayed` use; None if there is none.

        Returns:
            The tracked objects in ascending order of track id.
        """
        ...

    def prompt(
        self,
        *,
        mask: NDArray[np.generic] | None = None,
        box: Box | None = None,
        point: Point | None = None,
        stamp: float | None = None,
    ) -> int:
        """Start tracking the object that exactly one of mask, box and point shows; returns its track id.

        The object is in the result of the next `step`.

        Args:
            mask: (height, width) of a recent image, zero or not.
            box: x0, y0, x1, y1 in pixels.
            point: x, y in pixels.
            stamp: of the image the prompt refers to, in seconds; None for the newest one.

        Raises:
            PromptError: the prompt cannot be used, or the model takes none. Nothing has changed.
        """
        ...

    def forget(self, track_id: int) -> None:
        """Stop tracking an object. Raises PromptError where there is no such track, or the model cannot."""
        ...

    def reset(self) -> None:
        """Delete every track. Track ids count from 1 again, and the next stamp may be any."""
        ...

    def configure(self, settings: Settings) -> None:
        """Apply the settings that may change while running, from the next image on. May be called from any thread.

        Raises:
            ValueError: a value cannot be applied while running. Nothing has changed.
        """
        ...
