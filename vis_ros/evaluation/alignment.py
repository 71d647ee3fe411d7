"""Alignment: which video and which frame of the results belongs to which of the truth."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.evaluation.survey import FrameKey


def pair_videos(results: AnnotatedVideos, truth: AnnotatedVideos) -> list[tuple[AnnotatedVideo, AnnotatedVideo | None]]:
    """Each video of the truth with that of the results, by name; one on each side belong together whatever their names.

    Raises:
        ValueError: no name is on both sides.
    """
    if len(results.videos) == len(truth.videos) == 1:
        return [(truth.videos[0], results.videos[0])]
    named = {video.name: video for video in results.videos}
    pairs = [(video, named.get(video.name)) for video in truth.videos]
    if all(result is None for _, result in pairs):
        raise ValueError(
            f'no video of the results {results.source} is one of the truth {truth.source}: the results have '
            f'{_examples(named)}, the truth has {_examples([video.name for video in truth.videos])}'
        )
    return pairs


@dataclass(frozen=True)
class Alignment:
    """The frames of one video of the truth, and the one of the results that belongs to each.

    partners: for each frame of the truth the position of its partner among the frames of the results, or None.
    matched_by: 'stamp', 'name' or 'position'; '' where there are no frames on one side.
    common_frames: whether frames without a partner are left out.
    """

    truth: AnnotatedVideo
    results: AnnotatedVideo | None
    partners: tuple[int | None, ...]
    matched_by: str
    common_frames: bool

    @property
    def common(self) -> int:
        """How many frames have a partner."""
        return sum(partner is not None for partner in self.partners)

    @property
    def compared(self) -> int:
        """How many pairs there are."""
        return self.common if self.common_frames else len(self.partners)

    def pairs(self) -> Iterator[tuple[AnnotatedFrame, AnnotatedFrame | None]]:
        """Read both videos side by side; None where a frame of the truth has no partner.

        Only frames that come before their turn are kept, so none where both sides have the same order.

        Raises:
            ValueError: the sizes of the images differ.
        """
        wanted = {partner for partner in self.partners if partner is not None}
        results = enumerate(() if self.results is None else self.results)
        early: dict[int, AnnotatedFrame] = {}
        for frame, partner in zip(self.truth, self.partners, strict=True):
            if partner is None:
                if not self.common_frames:
                    yield frame, None
                continue
            while partner not in early:
                position, other = next(results)
                if position in wanted:
                    early[position] = other
            other = early.pop(partner)
            if tuple(other.size) != tuple(frame.size):
                raise ValueError(
                    f'video {self.truth.name!r}, frame {frame.name!r}: the truth has (height, width) '
                    f'{tuple(frame.size)}, the results have {tuple(other.size)}; they must be of the same images'
                )
            yield frame, other


def align(
    truth: AnnotatedVideo,
    truth_keys: Sequence[FrameKey],
    results: AnnotatedVideo | None,
    result_keys: Sequence[FrameKey],
    *,
    common_frames: bool = False,
) -> Alignment:
    """Match the frames of two videos: by stamp, else by name, else by position.

    The first by which at least half of the frames of the shorter one have a partner; if there is none, the one by which
    most have. Never by position where both have stamps: these are of different images then.

    Names are compared without folder, image extension and leading zeros of a number: '00012.png' is '12'. Where several
    frames of a video have the same stamp or name, the first belongs to the first, the second to the second.

    Raises:
        ValueError: both have frames, but nothing in common.
    """
    if results is None or not result_keys or not truth_keys:
        return Alignment(truth, results, (None,) * len(truth_keys), '', common_frames)
    both_have_stamps = all(any(key.stamp_ns is not None for key in keys) for keys in (truth_keys, result_keys))
    found = [
        Alignment(truth, results, _partners(truth_keys, result_keys, key_of), matched_by, common_frames)
        for matched_by, key_of in _KEYS.items()
        if not (matched_by == 'position' and both_have_stamps)
    ]
    # Clocks that have nothing to do with each other agree now and then.
    enough = [each for each in found if 2 * each.common >= min(len(truth_keys), len(result_keys))]
    best = enough[0] if enough else max(found, key=lambda each: each.common)
    if best.common:
        return best
    raise ValueError(
        f'video {truth.name!r}: no frame of the results is one of the truth, neither by stamp nor by name nor by '
        f'position: the results have {_examples(map(_describe, result_keys))}, '
        f'the truth has {_examples(map(_describe, truth_keys))}'
    )


def _partners(
    truth: Sequence[FrameKey], results: Sequence[FrameKey], key_of: Callable[[FrameKey], Hashable | None]
) -> tuple[int | None, ...]:
    positions = {key: position for position, key in enumerate(_keys(results, key_of)) if key is not None}
    return tuple(None if key is None else positions.get(key) for key in _keys(truth, key_of))


def _plain_name(frame: FrameKey) -> str:
    # Only of images: a name may be a number with a point.
    stem = re.sub(r'\.(bmp|jpe?g|pgm|png|ppm|tiff?|webp)$', '', PurePath(frame.name).name, flags=re.IGNORECASE)
    return str(int(stem)) if stem.isdecimal() else stem


_KEYS: dict[str, Callable[[FrameKey], Hashable | None]] = {
    'stamp': lambda frame: frame.stamp_ns,
    'name': _plain_name,
    'position': lambda frame: frame.index,
}


def _keys(
    frames: Sequence[FrameKey], key_of: Callable[[FrameKey], Hashable | None]
) -> Iterator[tuple[Hashable, int] | None]:
    """The key of each frame with how many before it have the same; None for a frame without."""
    seen: Counter[Hashable] = Counter()
    for frame in frames:
        key = key_of(frame)
        yield None if key is None else (key, seen[key])
        seen[key] += 1


def _describe(frame: FrameKey) -> str:
    return f'{frame.index} ({frame.name}, {"no stamp" if frame.stamp_ns is None else f"{frame.stamp_ns} ns"})'


def _examples(names: Iterable[str]) -> str:
    listed = list(names)
    return f'{", ".join(listed[:3])}{", ..." if len(listed) > 3 else ""} ({len(listed)} in all)' if listed else 'none'
