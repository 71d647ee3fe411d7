"""Kind: how to damage and read the files of one kind, and what must not be lost without a word."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robustness.mutations import cut, damage


class LostWithoutAWordError(AssertionError):
    """A file was cut, fewer frames were read, and nothing was said."""


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: of the kind.
        cases: number of cases in a full run.
        prepare: makes the sound files in a folder.
        make: damages one of them: (sound files, empty folder, random) -> path of the case.
        read: reads a case. A problem that it reports raises ValueError or OSError.
    """

    name: str
    cases: int
    prepare: Callable[[Path], None]
    make: Callable[[Path, Path, random.Random], Path]
    read: Callable[[Path], None]


def damaged_file(source: Path, target: Path, chance: random.Random) -> Path:
    """A copy of a file, cut in one of three cases (which its name then says), otherwise damaged."""
    is_cut = chance.random() < 1 / 3
    path = target / f'{"cut" if is_cut else "damaged"}_{source.name}'
    path.write_bytes((cut if is_cut else damage)(source.read_bytes(), chance))
    return path


def one_of(folder: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(folder.iterdir()))
