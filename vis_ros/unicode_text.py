"""unicode_text: names of files for formats and libraries that take Unicode only."""

from __future__ import annotations


def unicode_text(text: str) -> str:
    r"""A text in Unicode: what is not, as in some names of files, becomes \udcff, as in `whole_file.write_whole`."""
    return text.encode(errors='backslashreplace').decode()
