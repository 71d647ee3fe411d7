"""Reads checkpoint files safely: only tensors and plain values are loaded, no code in a file is ever run."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vis_ros.file_kinds import foreign_kind

State = dict[str, Tensor]
"""Tensors by name."""


def read_checkpoint(path: Path) -> tuple[State, dict[str, Any]]:
    """The tensors in a .pth or .safetensors file by name, and its metadata (empty if it has none).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or contains more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    if not path.stat().st_size:
        raise ValueError(f'{path} is empty: download it again')
    if path.suffix == '.safetensors':
        return _read_safetensors(path), {}
    if (kind := foreign_kind(path)) and not kind.startswith('a ZIP'):  # torch writes ZIP archives
        raise ValueError(f'{path} is no checkpoint: it is {kind}')
    _check_stored(path)
    content = _unpickle_plain(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path} contains a {type(content).__name__}, not the named tensors of a checkpoint')
    state = next((content[key] for key in ('state_dict', 'model') if isinstance(content.get(key), dict)), content)
    tensors = {
        str(name).removeprefix('module.'): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)
    }
    if not tensors:
        raise ValueError(f'{path} contains no tensors, only {", ".join(map(str, state)) or "an empty dict"}')
    meta = content.get('meta')
    return tensors, meta if isinstance(meta, dict) else {}


def _read_safetensors(path: Path) -> State:
    try:
        with safe_open(path, 'pt') as file:
            if any(key.startswith('vis_ros.') for key in file.metadata() or {}):
                raise ValueError(f'{path} is a vis_ros model already: there is nothing to convert')
        return load_file(path)
    except (SafetensorError, OSError) as error:
        if kind := foreign_kind(path):
            raise ValueError(f'{path} is no checkpoint: it is {kind}') from error
        raise ValueError(f'{path} is not a .safetensors file, or is truncated: {error}') from error


def _check_stored(path: Path) -> None:
    """Raise ValueError for a ZIP archive with compressed files, which torch never writes: they may fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # Not a ZIP file, or of a version that zipfile cannot read: torch decides, and says what is wrong.
        return
    if size > path.stat().st_size:
        raise ValueError(
            f'{path} is no checkpoint of PyTorch: its {path.stat().st_size} bytes unpack to {size}. If it is an '
            'archive with a checkpoint inside, unpack it first'
        )


def _unpickle_plain(path: Path) -> Any:
    _check_torch_version()
    try:
        with torch.serialization.safe_globals(_plain_globals()):
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r'GLOBAL (\S+)|function (.+)', str(error)):
            raise ValueError(
                f'{path} is rejected: reading it would call {found[1] or found[2]}, but only tensors and plain values '
                'are read. If you trust the file, save only its tensors with the code that made it: '
                "torch.save({'state_dict': ..., 'meta': {'CLASSES': ...}}, path)"
            ) from None
        raise _damaged(path, error) from error
    except Exception as error:  # a damaged file can cause any error in the parser
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    with path.open('rb') as file:
        is_pickle = file.read(2) in (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')
    if is_pickle:
        what = 'a pickle of another program (detectron2 has such), or damaged: save its tensors with torch.save there'
    else:
        what = f'not a PyTorch checkpoint, or truncated ({path.stat().st_size} bytes): {_first_words(error)}'
    return ValueError(f'{path} is {what}')


def _first_words(error: Exception) -> str:
    """The kind of an error and the start of its text, without torch's advice to read the file unsafely."""
    text = (str(error).splitlines() or [''])[0][:200]
    return type(error).__name__ if 'weights_only' in text else f'{type(error).__name__}: {text}'


def _check_torch_version() -> None:
    """CVE-2025-32434: before torch 2.6, a file could run code despite `weights_only`."""
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 6):
        raise ValueError(
            f'torch {torch.__version__} cannot read .pth files safely (CVE-2025-32434): use torch 2.6 or newer, or '
            'convert the checkpoint on another machine and copy the .safetensors file here'
        )


def _plain_globals() -> list[Any]:
    """Numpy scalars and command line arguments, which training scripts store beside the weights."""
    kinds = [type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'float32', 'float64')]
    scalar = np.float64(0).__reduce__()[0]
    names = [(scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')]
    return [argparse.Namespace, np.dtype, *kinds, *names]
