"""The output folder of a replay, offline or live."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vis_ros.recordings.bag_files import remove_bag
from vis_ros.replay.offline.video_files import NAMES


def make_room(folder: Path, recordings: Iterable[Path]) -> None:
    """Create the folder, or remove the files of an earlier replay from it.

    Raises:
        ValueError: the folder and one of the recordings overlap.
        FileExistsError: `folder/bag` is not a bag.
    """
    for path in (recording.resolve() for recording in recordings):
        written = [folder.resolve() / name for name in ('bag', *NAMES)]
        if folder.resolve().is_relative_to(path) or any(path.is_relative_to(each) for each in written):
            raise ValueError(
                f'{folder} cannot hold the results: it overlaps the recording {path}; choose another --out'
            )
    remove_bag(folder / 'bag')
    videos = _videos_of(folder / 'run.json')
    for name in (*NAMES, *(f'{video}/{name}' for video in videos for name in NAMES), 'results.json', 'run.json'):
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def _videos_of(run: Path) -> list[str]:
    """The videos of an earlier replay; none if its run.json is missing or damaged."""
    try:
        found = json.loads(run.read_text(encoding='utf-8'))['cameras']
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in found] if isinstance(found, dict) else []
