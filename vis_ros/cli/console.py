"""Shared by the commands: the console, a progress bar, a two-column table, and sizes as HEIGHTxWIDTH."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

console = Console(markup=False)  # names of files may hold square brackets


class _RateColumn(ProgressColumn):
    """Images per second, or seconds of recording, of which a slow machine does less than one."""

    def render(self, task: Task) -> Text:
        return Text('' if task.speed is None else f'{_rate(task.speed)}/s', style='progress.data.speed')


def _rate(per_second: float) -> str:
    return f'{per_second:.1f}' if per_second >= 1 else f'{per_second:.2f}'


@contextmanager
def progress(activity: str, total: int | None) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar with rate and remaining time, and its task; without a total it only counts."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield bar, bar.add_task(activity, total=total)


def print_table(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Print a table of names and values."""
    table = Table(title=title, show_header=False)
    for name, value in rows:
        table.add_row(name, Text(str(value)))
    console.print(table)


def parse_size(text: str, option: str = '--size') -> tuple[int, int]:
    """(height, width) in pixels of a text like 288x512.

    Raises:
        ValueError: it is anything else; the message names the option.
    """
    height, _, width = text.lower().partition('x')
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ValueError(f'{option} {text!r} is not height x width in pixels, such as 288x512')
    return int(height), int(width)
