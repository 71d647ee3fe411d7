"""RecordFiles: results.jsonl alone, for a replay without pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances


class RecordFiles:
    """Writes results.jsonl; close it at the end. codec: '', since there is no video."""

    codec = ''

    def __init__(self, folder: Path) -> None:
        """Create the folder if needed; an existing file is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        self._records = (folder / 'results.jsonl').open('w', encoding='utf-8')

    def add(self, image: NDArray[np.uint8] | None, instances: Instances, record: dict[str, Any]) -> None:
        """Append the record of a frame; arguments as of `VideoFiles.add`."""
        self._records.write(json.dumps(record) + '\n')

    def close(self) -> None:
        """Finish the file."""
        self._records.close()
