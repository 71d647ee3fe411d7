"""Model files with the digest of their weights."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vis_ros.networks.sealed_weights import load_sealed, save_sealed

TENSORS = {'a': torch.arange(6.0).reshape(2, 3), 'b': torch.ones(3, dtype=torch.bfloat16)}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / 'x.safetensors'
    save_sealed(TENSORS, path, {'key': 'value'})
    found = load_sealed(path)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    with safe_open(path, 'pt') as file:
        assert file.metadata()['key'] == 'value'
    assert list(tmp_path.iterdir()) == [path]


def test_every_damaged_byte_of_the_weights_is_found(tmp_path: Path) -> None:
    path = tmp_path / 'x.safetensors'
    save_sealed(TENSORS, path, {})
    data = path.read_bytes()
    weights = sum(tensor.nbytes for tensor in TENSORS.values())
    for place in range(len(data) - weights, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match='is damaged: its tensors differ'):
            load_sealed(path)


def test_a_file_of_an_earlier_version_has_no_digest(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / 'x.safetensors')
    assert torch.equal(load_sealed(tmp_path / 'x.safetensors')['a'], TENSORS['a'])
