"""RecordFiles: results.jsonl; alone for a replay without pictures, else beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.whole_file import naming


class RecordFiles:
    """Writes results.jsonl; close it at the end. codec: '', since there is no video.

    The file has whole lines only, also after the process was killed or the disk is full.
    """

    codec = ''

    def __init__(self, folder: Path) -> None:
        """Create the folder if needed; an existing file is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / 'results.jsonl'
        self._file = self._path.open('wb', buffering=0)
        self._size = 0

    def add(self, image: NDArray[np.uint8] | None, instances: Instances, record: dict[str, Any]) -> None:
        """Append the record of a frame; arguments as of `VideoFiles.add`."""
        line = json.dumps(record).encode('ascii') + b'\n'
        with naming(self._path):
            try:
                written = 0
                while written < len(line):
                    written += self._file.write(line[written:])
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(line)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
