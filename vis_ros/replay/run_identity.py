"""What the results of a replay depend on, as hashes: while they are equal, a run need not be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vis_ros
from vis_ros.tracking.model import weights_digest
from vis_ros.tracking.settings import Settings

_WITHOUT_EFFECT = ('threads',)
"""Settings that change the speed and not the results."""


def settings_identity(settings: Settings, options: Mapping[str, Any]) -> dict[str, str]:
    """Version and hashes of everything but the recording; plain JSON types.

    Args:
        settings: of the model.
        options: all other options that change a file of the results; anything that JSON or `str` can write.
    """
    chosen = {name: value for name, value in asdict(settings).items() if name not in _WITHOUT_EFFECT}
    text = json.dumps({'settings': chosen, 'options': dict(options)}, sort_keys=True, default=str)
    weights = (weights_digest(each) for each in (settings.weights, settings.propagation_weights))
    return {
        'vis_ros': vis_ros.__version__,
        'weights': ' '.join(filter(None, weights)),
        'settings': hashlib.sha256(text.encode()).hexdigest(),
    }


def source_identity(path: Path) -> dict[str, str]:
    """Hash of the names, sizes and times of change of the files of a recording, of which the content is not read."""
    files = sorted(file for file in path.rglob('*') if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(
            f'{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}\n'.encode(errors='surrogateescape')
        )
    return {'source': digest.hexdigest()}
