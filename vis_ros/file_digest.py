"""sha256_of: the SHA-256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path, start: int = 0) -> str:
    """Hexadecimal SHA-256 of a file, from the byte `start` to its end."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        file.seek(start)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
