"""Weights of NanoDet-Plus-m in the ncnn format, for NanoDetBody and DenseHead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vis_ros.networks.dense_head import DenseHead
from vis_ros.networks.shuffle_pyramid import GhostBlock, NanoDetBody, ShuffleReduction

_HALF = 0x01306B47
"""Tag of float16 weights in an ncnn file; 0 is float32."""
_CONVOLUTIONS = ('Convolution', 'ConvolutionDepthWise')


def load_nanodet(body: NanoDetBody, head: DenseHead | None, path: Path) -> int:
    """Load the weights of NanoDet-Plus-m.

    Args:
        body: where they go.
        head: where those of its head go; None leaves them out.
        path: the `.ncnn.bin` file, beside which the `.ncnn.param` file of the same name lies.

    Returns:
        the number of convolutions loaded.

    Raises:
        ValueError: the files are not those of NanoDet-Plus-m.
        OSError: a file cannot be read.
    """
    mine = [*_in_order(body), *(_of_head(head) if head is not None else [])]
    theirs = list(_read(path))[: len(mine)]
    shapes = [tuple(conv.weight.shape) for conv in mine]
    sizes = [conv.weight.numel() for conv in mine]
    if [len(weight) for weight, _ in theirs] != sizes:
        raise ValueError(f'{path} does not hold the {len(mine)} convolutions of NanoDet-Plus-m')
    with torch.no_grad():
        for conv, shape, (weight, bias) in zip(mine, shapes, theirs, strict=True):
            conv.weight.copy_(torch.from_numpy(weight).reshape(shape))
            if conv.bias is not None:
                conv.bias.copy_(torch.from_numpy(bias))
        stem = body.stem[0].weight
        assert isinstance(stem, Tensor)
        stem.copy_(stem.flip(1).clone())  # NanoDet takes BGR
    return len(mine)


def _read(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the convolutions, flat float32, in the order of the file."""
    param = path.with_suffix('.param')
    data = path.read_bytes()
    at = 0
    for line in param.read_text().splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        if kind not in _CONVOLUTIONS:
            continue
        values = dict(field.split('=', 1) for field in rest[int(inputs) + int(outputs) :])
        biases, weights = int(values['0']), int(values['6'])
        tag = int.from_bytes(data[at : at + 4], 'little')
        if tag not in (0, _HALF):
            raise ValueError(f'{path} has weights of an unknown kind ({tag:#x}); float16 and float32 can be read')
        number = np.dtype(np.float16 if tag == _HALF else np.float32)
        weight = np.frombuffer(data, number, weights, at + 4).astype(np.float32)
        at += 4 + -(-weights * number.itemsize // 4) * 4
        bias = np.frombuffer(data, np.float32, biases, at)
        at += 4 * biases
        yield weight, bias.copy()


def _in_order(body: NanoDetBody) -> Iterator[nn.Conv2d]:
    """The convolutions in the order of the file, which is that of the graph."""
    yield from _all(body.stem)
    for stage in body.stages:
        assert isinstance(stage, nn.Sequential)
        reduction, *units = stage
        assert isinstance(reduction, ShuffleReduction)
        short, branch = _all(reduction.short), _all(reduction.branch)
        yield from (short[0], branch[0], branch[1], short[1], branch[2])
        for unit in units:
            yield from _all(unit)
    pan = body.pan
    fine, middle, coarse = (_all(reduce) for reduce in pan.reduce)
    yield from (*coarse, *middle)
    yield from _of_block(pan.down[0])
    yield from fine
    yield from _of_block(pan.down[1])
    for shrink, block in zip(pan.shrink, pan.up, strict=True):
        yield from _all(shrink)
        yield from _of_block(block)
    yield from (*_all(pan.last_input), *_all(pan.last_output))


def _of_head(head: DenseHead) -> Iterator[nn.Conv2d]:
    for tower in head.towers:
        assert isinstance(tower, nn.Sequential)
        yield from _all(tower[0])
    for tower, output in reversed(list(zip(head.towers, head.outputs, strict=True))):
        assert isinstance(tower, nn.Sequential) and isinstance(output, nn.Conv2d)
        yield from (*_all(tower[1]), output)


def _of_block(block: nn.Module) -> list[nn.Conv2d]:
    assert isinstance(block, GhostBlock)
    parts = (block.first, block.first_ghost, block.second, block.second_ghost, block.shortcut)
    return [conv for part in parts for conv in _all(part)]


def _all(module: nn.Module) -> list[nn.Conv2d]:
    return [each for each in module.modules() if isinstance(each, nn.Conv2d)]
