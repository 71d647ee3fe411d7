"""Make docstrings fit for Markdown on the API pages: doctests as code, fields as lists, angle brackets as text."""

import re
from typing import Any

import griffe

_FIELD = re.compile(r'([a-z_0-9]+(?:, [a-z_0-9]+)*): (\S.*)')
"""A line that describes a field of a class, such as `stamp: seconds`."""

_SECTIONS = ('Args', 'Attributes', 'Raises', 'Returns', 'Yields')
"""Headings that mkdocstrings knows."""


class MarkdownDocstrings(griffe.Extension):
    """An extension of Griffe, which reads the source for the API pages. See mkdocs.yml."""

    def on_object(self, *, obj: griffe.Object, **arguments: Any) -> None:
        """Rewrite the docstring of an object that was just read."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(docstring: str) -> str:
    """The docstring with each paragraph rewritten by what it is: doctest, fields, or text."""
    return '\n\n'.join(_rewritten(paragraph) for paragraph in re.split(r'\n{2,}', docstring))


def _rewritten(paragraph: str) -> str:
    first, *rest = lines = paragraph.split('\n')
    if first.startswith('>>>'):
        return f'```pycon\n{paragraph}\n```'
    if rest and first.endswith(':') and first.rstrip(':') not in _SECTIONS and _FIELD.match(rest[0].strip()):
        return f'{first}\n\n{_as_list([line.removeprefix("    ") for line in rest])}'
    return _as_list(lines)


def _as_list(lines: list[str]) -> str:
    """Lines that describe fields become items of a list; indented lines continue an item, and others stay."""
    result: list[str] = []
    for line in lines:
        field = _FIELD.match(line)
        if field and not (result and result[-1].startswith('- ')):
            result.append('')
        result.append(_escaped(f'- `{field[1]}`: {field[2]}' if field else line))
    return '\n'.join(result)


def _escaped(line: str) -> str:
    """The line with <names> outside of code as text, not as HTML."""
    parts = line.split('`')
    parts[::2] = [re.sub(r'<(\w+)>', r'&lt;\1&gt;', part) for part in parts[::2]]
    return '`'.join(parts)
