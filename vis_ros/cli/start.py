"""Where `vis-ros` starts: says which library is too old before the commands, which need it, are imported."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

OLDEST = {'rich': (13,), 'typer': (0, 19)}
"""The oldest versions of the libraries that the commands are made with."""


def main() -> None:
    """Run the command line, or exit with status 1 and one sentence."""
    if wrong := _wrong_libraries():
        wanted = ' '.join(f"'{name}>={'.'.join(map(str, OLDEST[name]))}'" for name in OLDEST)
        sys.exit(f'vis-ros: {" and ".join(wrong)}: in a virtual environment, pip install {wanted}')
    from vis_ros.cli.main import main as run

    run()


def _wrong_libraries() -> list[str]:
    """What is missing or too old, in words."""
    wrong = []
    for name, oldest in OLDEST.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            wrong.append(f'{name} is not installed')
            continue
        numbers = tuple(int(part) for part in found.split('.')[: len(oldest)] if part.isdecimal())
        if numbers < oldest:
            wrong.append(f'{name} {found} is too old')
    return wrong
