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
    """Writes results.jsonl; close it at the end. codec: '', since there is no video."""

    codec = ''

    def __init__(self, folder: Path) -> None:
        """Create the folder if needed; an existing file is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / 'results.jsonl'
        self._records = self._path.open('w', encoding='utf-8', buffering=1)  # whole lines, if the process is killed

    def add(self, image: NDArray[np.uint8] | None, instances: Instances, record: dict[str, Any]) -> None:
        """Append the record of a frame; arguments as of `VideoFiles.add`."""
        with naming(self._path):
            self._records.write(json.dumps(record) + '\n')

    def close(self) -> None:
        """Finish the file."""
        with naming(self._path):
            self._records.close()
