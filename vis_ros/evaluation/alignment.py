"""Alignment: which video and which frame of the results belongs to which of the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.datasets.video_summary import FrameKey
from vis_ros.image_files import IMAGE_SUFFIXES

FramePair = tuple[AnnotatedFrame, AnnotatedFrame | None]
"""A frame of the ground truth and the frame of the results that belongs to it, if there is one."""


def pair_videos(results: AnnotatedVideos, truth: AnnotatedVideos) -> list[tuple[AnnotatedVideo, AnnotatedVideo | None]]:
    """Each video of the ground truth with the video of the results that has the same name, if there is one.

    If both sides have a single video, these belong together whatever their names. A recording of a library, such as
    day1/drive.mcap, also belongs to `drive`, if only one recording and one video of the ground truth are called so.

    Raises:
        ValueError: the sides have no name in common.
    """
    if len(results.videos) == len(truth.videos) == 1:
        return [(truth.videos[0], results.videos[0])]
    named = {video.name: video for video in results.videos}
    if results.cameras:
        named |= _by_short_name(results.videos, truth.videos, named)
    pairs = [(video, named.get(video.name)) for video in truth.videos]
    if all(result is None for _, result in pairs):
        raise ValueError(
            f'the results {results.source} and the ground truth {truth.source} have no video name in common: the '
            f'results have {_examples(named)}, the ground truth has {_examples([video.name for video in truth.videos])}'
        )
    return pairs


def _by_short_name(
    results: Sequence[AnnotatedVideo], truth: Sequence[AnnotatedVideo], named: Mapping[str, AnnotatedVideo]
) -> dict[str, AnnotatedVideo]:
    """Name in the ground truth -> the only video of the results with the same last part of the name, without suffix."""
    counts = [Counter(_short(video.name) for video in side) for side in (results, truth)]
    short = {_short(video.name): video for video in results}
    return {
        video.name: short[name]
        for video in truth
        if video.name not in named and all(count[name := _short(video.name)] == 1 for count in counts)
    }


def _short(name: str) -> str:
    return PurePath(name).stem


@dataclass(frozen=True)
class Alignment:
    """The frames of one video of the ground truth, and the frame of the results that belongs to each.

    Attributes:
        truth, results: the videos.
        partners: for each ground truth frame the position of its partner among the frames of the results, or None.
        matched_by: 'stamp', 'name' or 'position'; '' if one side has no frames.
        common_frames: whether frames without a partner are left out.
    """

    truth: AnnotatedVideo
    results: AnnotatedVideo | None
    partners: tuple[int | None, ...]
    matched_by: str
    common_frames: bool

    @property
    def common(self) -> int:
        """Number of frames with a partner."""
        return sum(partner is not None for partner in self.partners)

    @property
    def compared(self) -> int:
        """Number of pairs."""
        return self.common if self.common_frames else len(self.partners)

    def pairs(self) -> Iterator[FramePair]:
        """Read both videos side by side.

        Only result frames that come before their turn are kept in memory: none if both sides have the same order.

        Raises:
            ValueError: the image sizes differ.
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
                    f'video {self.truth.name!r}, frame {frame.name!r}: the ground truth has (height, width) '
                    f'{tuple(frame.size)}, the results have {tuple(other.size)}; both must be of the same images'
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
    """Match the frames of two videos by stamp, by name or by position.

    Takes the first of these for which at least half of the frames of the shorter video have a partner; if there is
    none, the one with the most partners. If both have stamps they are never matched by position, because these frames
    show different images.

    Names are compared without folder, image suffix and leading zeros of a number: '00012.png' is '12'. If several
    frames of a video have the same stamp or name, they are matched in order.

    Raises:
        ValueError: both videos have frames, but nothing in common.
    """
    if results is None or not result_keys or not truth_keys:
        return Alignment(truth, results, (None,) * len(truth_keys), '', common_frames)
    both_have_stamps = all(any(key.stamp_ns is not None for key in keys) for keys in (truth_keys, result_keys))
    candidates = [
        Alignment(truth, results, _partners(truth_keys, result_keys, key_of), matched_by, common_frames)
        for matched_by, key_of in _KEYS.items()
        if not (matched_by == 'position' and both_have_stamps)
    ]
    # Stamps of unrelated clocks can be equal by chance.
    enough = [each for each in candidates if 2 * each.common >= min(len(truth_keys), len(result_keys))]
    best = enough[0] if enough else max(candidates, key=lambda each: each.common)
    if best.common:
        return best
    raise ValueError(
        f'video {truth.name!r}: no frame of the results matches the ground truth by stamp, name or position: the '
        f'results have {_examples(map(_describe, result_keys))}, '
        f'the ground truth has {_examples(map(_describe, truth_keys))}'
    )


def _partners(
    truth: Sequence[FrameKey], results: Sequence[FrameKey], key_of: Callable[[FrameKey], Hashable | None]
) -> tuple[int | None, ...]:
    positions = {key: position for position, key in enumerate(_keys(results, key_of)) if key is not None}
    return tuple(None if key is None else positions.get(key) for key in _keys(truth, key_of))


def _plain_name(frame: FrameKey) -> str:
    # Only image suffixes are removed: a name may be a number with a decimal point.
    path = PurePath(frame.name)
    stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
    return str(int(stem)) if stem.isdecimal() else stem


_KEYS: dict[str, Callable[[FrameKey], Hashable | None]] = {
    'stamp': lambda frame: frame.stamp_ns,
    'name': _plain_name,
    'position': lambda frame: frame.index,
}


def _keys(
    frames: Sequence[FrameKey], key_of: Callable[[FrameKey], Hashable | None]
) -> Iterator[tuple[Hashable, int] | None]:
    """The key of each frame and how many frames before it have the same key; None for a frame without a key."""
    seen: Counter[Hashable] = Counter()
    for frame in frames:
        key = key_of(frame)
        yield None if key is None else (key, seen[key])
        seen[key] += 1


def _describe(frame: FrameKey) -> str:
    return f'{frame.index} ({frame.name}, {"no stamp" if frame.stamp_ns is None else f"{frame.stamp_ns} ns"})'


def _examples(names: Iterable[str]) -> str:
    listed = list(names)
    return f'{", ".join(listed[:3])}{", ..." if len(listed) > 3 else ""} ({len(listed)} in total)' if listed else 'none'
