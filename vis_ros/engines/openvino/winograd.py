"""Winograd's minimal filtering for the large 3x3 convolutions of a network that OpenVINO runs in fp32.

F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): an output tile of 4x4 pixels
takes 36 products a pair of channels instead of 144. OpenVINO computes these convolutions directly, at the rate of a
matrix product; as 36 smaller matrix products between two cheap transforms they take about six tenths of the time.
Rounding is amplified to about 1e-5 of the result in fp32, and far too much in bf16.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

_TILE, _PATCH = 4, 6
"""Side of the output tile, and of the patch of the input that it depends on."""

_LEAST_CHANNELS = 192
_LEAST_TILES = 100
"""Below, the transforms cost more than the products that they save."""

_INPUT = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], np.float64
)  # fmt: skip
_KERNEL = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]], np.float64
)  # fmt: skip
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
"""B^T, G and A^T of F(4, 3), for the points 0, 1, -1, 2, -2 and infinity: y = A^T ((G g) * (B^T d))."""


def use_winograd(model: ov.Model) -> int:
    """Replace the convolutions of a model for which it pays. Returns how many.

    Those with a kernel of 3x3, stride 1 and a border of 1, many channels, a picture of a size that is known now, and
    one image (or a number of RoIs that is known only when the model runs).
    """
    kernels: dict[str, ov.Output] = {}
    replaced = 0
    for node in model.get_ordered_ops():
        weights = _weights(node)
        if weights is None:
            continue
        constant, values = weights
        if constant not in kernels:  # one layer may see several levels of the pyramid
            kernels[constant] = opset.constant(_transformed(values)).output(0)
        result = _convolution(node.input_value(0), kernels[constant], values.shape[0])
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(result)
        replaced += 1
    model.validate_nodes_and_infer_types()
    return replaced


def _weights(node: ov.Node) -> tuple[str, NDArray[np.float32]] | None:
    """Name and values (K, C, 3, 3) of the kernel of a convolution that is to be replaced; None for any other node."""
    if node.get_type_name() != 'Convolution':
        return None
    attributes = node.get_attributes()
    unit = all(attributes[name] == [1, 1] for name in ('strides', 'dilations', 'pads_begin', 'pads_end'))
    shape = node.input_value(0).get_partial_shape()
    if not unit or any(shape[axis].is_dynamic for axis in (1, 2, 3)) or shape[0].get_min_length() > 1:
        return None
    channels, height, width = (shape[axis].get_length() for axis in (1, 2, 3))
    few_tiles = shape[0].is_static and _tiles(height) * _tiles(width) < _LEAST_TILES
    source = node.input_value(1).get_node()
    while source.get_type_name() == 'Convert':
        source = source.input_value(0).get_node()
    if few_tiles or channels < _LEAST_CHANNELS or source.get_type_name() != 'Constant':
        return None
    values = np.asarray(source.data, np.float32)
    return (source.get_friendly_name(), values) if values.shape[2:] == (3, 3) and len(values) >= 64 else None


def _transformed(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """G g G^T of (K, C, 3, 3), as (36, C, K)."""
    spread = np.einsum('ia,kcab,jb->ijck', _KERNEL, kernel.astype(np.float64), _KERNEL, optimize=True)
    return spread.reshape(_PATCH**2, kernel.shape[1], kernel.shape[0]).astype(np.float32)


def _convolution(features: ov.Output, kernel: ov.Output, channels_out: int) -> ov.Output:
    """The convolution of (R, C, H, W) with a transformed kernel (36, C, K), T tiles a picture: (R, K, H, W)."""
    shape = features.get_partial_shape()
    channels, height, width = (shape[axis].get_length() for axis in (1, 2, 3))
    rows, columns = _tiles(height), _tiles(width)
    one = shape[0].is_static
    ends = [0, 0, _TILE * rows - height + 1, _TILE * columns - width + 1]
    padded = opset.pad(features, _integers([0, 0, 1, 1]), _integers(ends), 'constant', opset.constant(np.float32(0)))
    # Channels last, as the layers before and after have them in memory; for one picture nothing is moved by that.
    pixels = opset.transpose(padded, _integers([0, 2, 3, 1] if one else [2, 3, 0, 1]))
    side = _TILE * columns + 2
    flat = opset.reshape(pixels, _integers([(_TILE * rows + 2) * side, -1]), False)
    patches = opset.gather(flat, _integers(_patch_pixels(rows, columns)), _integers(0))  # (36 T, R C)
    spread = _product(_INPUT, opset.reshape(patches, _integers([_PATCH**2, -1]), False))
    products = opset.matmul(opset.reshape(spread, _integers([_PATCH**2, -1, channels]), False), kernel, False, False)
    tiles = _product(_OUTPUT, opset.reshape(products, _integers([_PATCH**2, -1]), False))  # (16, T R K)
    tiles = opset.reshape(tiles, _integers([_TILE, _TILE, rows, columns, 1 if one else -1, channels_out]), False)
    whole = opset.transpose(tiles, _integers([4, 2, 0, 3, 1, 5]))
    whole = opset.reshape(whole, _integers([1 if one else -1, _TILE * rows, _TILE * columns, channels_out]), False)
    if (_TILE * rows, _TILE * columns) != (height, width):
        start, step, axes = _integers([0, 0]), _integers([1, 1]), _integers([1, 2])
        whole = opset.slice(whole, start, _integers([height, width]), step, axes)
    channels_first = opset.transpose(whole, _integers([0, 3, 1, 2]))
    # A convolution has its channels last, so that nothing moves, and takes bias and ReLU in. This one changes no bit.
    ones = opset.constant(np.ones((channels_out, 1, 1, 1, 1), np.float32))
    return opset.group_convolution(channels_first, ones, [1, 1], [0, 0], [0, 0], [1, 1]).output(0)


def _product(matrix: NDArray[np.float64], right: ov.Node) -> ov.Node:
    """A one-dimensional transform, applied along both axes of every tile at once."""
    return opset.matmul(opset.constant(np.kron(matrix, matrix).astype(np.float32)), right, False, False)


def _patch_pixels(rows: int, columns: int) -> NDArray[np.int64]:
    """(36 T,) where in a padded picture the pixels of all patches lie: first all top left pixels, and so on."""
    y = _TILE * np.arange(rows) + np.arange(_PATCH)[:, None]
    x = _TILE * np.arange(columns) + np.arange(_PATCH)[:, None]
    return (y[:, None, :, None] * (_TILE * columns + 2) + x[None, :, None, :]).ravel()


def _tiles(side: int) -> int:
    return -(-side // _TILE)


def _integers(values: int | list[int] | NDArray[np.int64]) -> ov.Node:
    return opset.constant(np.array(values, np.int64))
