"""Help texts as a user reads them: every word of every option and command is shown, and square brackets too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from vis_ros.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, the groups included."""
    yield path, command
    for name, child in getattr(command, 'commands', {}).items():
        yield from commands(child, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


def words(text: str) -> list[str]:
    return re.sub(r'[│╭╮╰╯─]', ' ', text).split()


@pytest.mark.parametrize(('path', 'command'), COMMANDS, ids=[' '.join(path) or 'vis-ros' for path, _ in COMMANDS])
def test_every_word_of_a_help_text_is_shown(path: tuple[str, ...], command: Any) -> None:
    environment = {'COLUMNS': '1000', 'TERMINAL_WIDTH': '1000', 'NO_COLOR': '1'}
    result = CliRunner().invoke(app, [*path, '--help'], env=environment, prog_name='vis-ros')
    assert result.exit_code == 0, result.output
    shown = ' '.join(words(result.output))
    assert command.help and ' '.join(words(command.help)) in shown
    for parameter in command.params:
        text = getattr(parameter, 'help', None)
        if text and not parameter.hidden:
            wanted = ' '.join(words(text.replace('\\[', '[')))
            assert wanted in shown, f'{" ".join(path)} {parameter.name}: its help reads otherwise'


def test_every_option_has_a_help_text() -> None:
    missing = [
        f'{" ".join(path)} {parameter.name}'
        for path, command in COMMANDS
        for parameter in command.params
        if parameter.name != 'help' and not getattr(parameter, 'help', None)
    ]
    assert missing == []
