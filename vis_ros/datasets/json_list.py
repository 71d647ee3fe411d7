"""JsonList: a JSON file with one long list, written element by element."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class JsonList:
    """Writes `begin`, the elements, one a line, and `end`, which may be set until the file is closed."""

    def __init__(self, path: Path, begin: str, end: str) -> None:
        self._path, self._begin, self.end = path, begin, end

    def __enter__(self) -> JsonList:
        self._file = self._path.open('w', encoding='utf-8')
        self._file.write(self._begin)
        self._separator = '\n'
        return self

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps(element))
        self._separator = ',\n'

    def __exit__(self, *_: object) -> None:
        self._file.write('\n' + self.end)
        self._file.close()
