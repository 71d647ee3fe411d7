"""The figure that decides between two results, and which figures mean something: both depend on the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from vis_ros.datasets.labels import Labels
from vis_ros.evaluation.evaluation import METRICS, ObjectTrack

PHOTO_METRICS = ('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'J', 'F', 'J&F')
"""Those that do not follow objects from image to image."""

PARTIAL_METRICS = ('AssA', 'IDSW', 'Frag', 'J', 'F', 'J&F')
"""Those that do not count detections of objects without a label as errors."""


@dataclass(frozen=True)
class LeadingFigure:
    """One of METRICS and the reason why it leads; `aware`: its class-aware value."""

    metric: str
    why: str
    aware: bool = False

    @property
    def name(self) -> str:
        """The figure in words."""
        return f'class-aware {self.metric}' if self.aware else self.metric


NOT_MEANINGFUL = 'not meaningful, because only some of the objects are labeled'


def check_figure(by: str | None) -> None:
    """Raise ValueError if a figure was asked for that is not one of METRICS."""
    if by is not None and by not in METRICS:
        raise ValueError(f'--by {by!r} is not a figure; choose from {", ".join(METRICS)}')


def shown_figures(photos: bool, labels: Labels) -> dict[str, tuple[str, ...]]:
    """The METRICS to show, by title: those that mean something under '', others, if there are any, apart."""
    first = meaningful(photos, labels)
    rest = tuple(name for name in METRICS if name not in first and (not photos or name in PHOTO_METRICS))
    return {'': first, NOT_MEANINGFUL: rest} if rest else {'': first}


def meaningful(photos: bool, labels: Labels) -> tuple[str, ...]:
    """The METRICS that mean something, in their order."""
    shown = [name for name in METRICS if not photos or name in PHOTO_METRICS]
    return tuple(name for name in shown if labels == 'exhaustive' or name in PARTIAL_METRICS)


def leading_figure(
    photos: bool, labels: Labels, objects: Iterable[ObjectTrack], has_aware: bool, by: str | None = None
) -> LeadingFigure:
    """Which figure leads.

    Args:
        photos: whether the ground truth is photos.
        labels: whether all objects are labeled.
        objects: of the ground truth.
        has_aware: whether there are class-aware figures.
        by: the figure that was asked for.

    Raises:
        ValueError: `by` is not one of METRICS, or one that photos do not have.
    """
    if by is not None:
        check_figure(by)
        if photos and by not in PHOTO_METRICS:
            raise ValueError(f'--by {by}: photos have no identities; choose from {", ".join(PHOTO_METRICS)}')
        hint = '' if by in meaningful(photos, labels) else '; with partial labels it means little'
        return LeadingFigure(by, f'chosen with --by{hint}', photos and has_aware)
    if labels == 'partial':
        return LeadingFigure('J&F', 'only some of the objects are labeled')
    if photos:
        return LeadingFigure('AP', 'these are photos', has_aware)
    if max(Counter(track.video for track in objects).values(), default=0) == 1:
        return LeadingFigure('J&F', 'one object is labeled in each video')
    return LeadingFigure('HOTA', 'several objects with identities are labeled')
