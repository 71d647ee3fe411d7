"""TruthMarks: what the ground truth says of the objects in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vis_ros.instances import Instances


@dataclass(frozen=True)
class TruthMarks:
    """The errors of one image, for `draw_overlay`.

    switched: index of an instance -> the track id that the same true object had before.
    false: indices of the instances that are no true object.
    lost: the true objects that no instance covers, or None.
    """

    switched: Mapping[int, int] = field(default_factory=dict)
    false: frozenset[int] = frozenset()
    lost: Instances | None = None

    def in_words(self) -> str:
        """Such as '1 switch, 2 lost, 1 false'; '' without errors."""
        lost = 0 if self.lost is None else len(self.lost)
        counts = (
            (len(self.switched), 'switch' if len(self.switched) == 1 else 'switches'),
            (lost, 'lost'),
            (len(self.false), 'false'),
        )
        return ', '.join(f'{count} {word}' for count, word in counts if count)
