"""Model files that contain the SHA-256 of their weights, so that a damaged one is never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vis_ros.file_digest import sha256_of
from vis_ros.whole_file import whole_file

SEAL_KEY = 'vis_ros.tensors_sha256'
"""Key of the digest in the metadata. Files of earlier versions have none."""

_LONGEST_REASON = 300
_LENGTH_BYTES = 8  # of the number at the start of the file: the length of the header behind it


def save_sealed(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file with the digest of its tensors. The file appears complete or not at all."""
    with whole_file(path) as partial:
        save_file(dict(tensors), partial, dict(metadata))
        save_file(dict(tensors), partial, {**metadata, SEAL_KEY: _digest(partial)})
        partial.chmod(0o644)


def load_sealed(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. ValueError if they are not those that were saved."""
    with safe_open(path, 'pt') as file:
        expected = (file.metadata() or {}).get(SEAL_KEY)
    if expected and expected != _digest(path):
        raise ValueError(f'{path} is damaged: its tensors differ from the SHA-256 in it. Copy or download it again')
    return load_file(path)


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the tensors of a file into a network. ValueError, of one line, if they are not those of the network."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{path} does not fit its config: {reason[:_LONGEST_REASON]}') from error


def _digest(path: Path) -> str:
    """The digest of the tensors, which start behind the header."""
    with path.open('rb') as file:
        return sha256_of(path, _LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), 'little'))
