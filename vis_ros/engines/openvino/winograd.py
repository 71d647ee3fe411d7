"""Winograd convolution for the large 3x3 layers of a network that OpenVINO runs in fp32.

F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). An output tile of 4x4 pixels
needs 36 products for each pair of an input and an output channel, instead of 144. OpenVINO computes these layers as
direct convolutions, at the speed of a matrix product. As 36 smaller matrix products between two cheap transforms they
take about 0.6 times as long. The rounding error grows to about 1e-5 of the result in fp32, and too far in bf16.

Shapes below: R images or RoIs, C input channels, K output channels, T tiles per image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

_TILE, _PATCH = 4, 6
"""Side of an output tile, and of the input patch that it depends on."""

_MIN_CHANNELS_IN, _MIN_CHANNELS_OUT, _MIN_TILES = 192, 64, 100
"""In smaller layers the transforms cost more than the products that they save."""

_INPUT_TRANSFORM = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], np.float64
)  # fmt: skip
_KERNEL_TRANSFORM = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]], np.float64
)  # fmt: skip
_OUTPUT_TRANSFORM = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64
)
"""B^T, G and A^T of F(4, 3) in the paper, for the points 0, 1, -1, 2, -2 and infinity: y = A^T ((G g) * (B^T d))."""


def use_winograd(model: ov.Model) -> int:
    """Replace the convolutions of a model for which it pays off; returns their number.

    These have a 3x3 kernel, stride 1, a border of 1, many channels, an image size that is known now, and either one
    image or a number of RoIs that is known only at run time.
    """
    kernels: dict[str, ov.Output] = {}
    replaced = 0
    for node in model.get_ordered_ops():
        weights = _kernel_to_replace(node)
        if weights is None:
            continue
        name, values = weights
        if name not in kernels:  # several levels of the feature pyramid may share one layer
            kernels[name] = opset.constant(_transform_kernel(values)).output(0)
        result = _winograd_convolution(node.input_value(0), kernels[name], channels_out=len(values))
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(result)
        replaced += 1
    model.validate_nodes_and_infer_types()
    return replaced


def _kernel_to_replace(node: ov.Node) -> tuple[str, NDArray[np.float32]] | None:
    """Name and values (K, C, 3, 3) of the kernel of a convolution to replace; None for any other node."""
    if node.get_type_name() != 'Convolution':
        return None
    attributes = node.get_attributes()
    if any(attributes[name] != [1, 1] for name in ('strides', 'dilations', 'pads_begin', 'pads_end')):
        return None
    shape = node.input_value(0).get_partial_shape()
    if any(shape[axis].is_dynamic for axis in (1, 2, 3)) or shape[0].get_min_length() > 1:
        return None
    channels, height, width = (shape[axis].get_length() for axis in (1, 2, 3))
    has_few_tiles = shape[0].is_static and _Tiling(height, width).count < _MIN_TILES
    if has_few_tiles or channels < _MIN_CHANNELS_IN:
        return None
    source = node.input_value(1).get_node()
    while source.get_type_name() == 'Convert':
        source = source.input_value(0).get_node()
    if source.get_type_name() != 'Constant':
        return None
    values = np.asarray(source.data, np.float32)
    if values.shape[2:] != (3, 3) or len(values) < _MIN_CHANNELS_OUT:
        return None
    return source.get_friendly_name(), values


@dataclass(frozen=True)
class _Tiling:
    """An image of height x width as a grid of output tiles. The last row and column of tiles may reach beyond it."""

    height: int
    width: int

    @property
    def rows(self) -> int:
        return -(-self.height // _TILE)

    @property
    def columns(self) -> int:
        return -(-self.width // _TILE)

    @property
    def count(self) -> int:
        """T."""
        return self.rows * self.columns

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of all tiles together."""
        return _TILE * self.rows, _TILE * self.columns

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of all patches together: one pixel more than the tiles on each side."""
        return self.output_size[0] + 2, self.output_size[1] + 2

    def patch_pixels(self) -> NDArray[np.int64]:
        """(36 T,) index of each pixel of each patch in the padded image, which is a flat list of pixels.

        Ordered by the place in the patch first: the top left pixels of all T patches, then their neighbors, ...
        """
        y = _TILE * np.arange(self.rows) + np.arange(_PATCH)[:, None]
        x = _TILE * np.arange(self.columns) + np.arange(_PATCH)[:, None]
        return (y[:, None, :, None] * self.input_size[1] + x[None, :, None, :]).ravel()


def _winograd_convolution(features: ov.Output, kernel: ov.Output, channels_out: int) -> ov.Output:
    """The convolution (R, K, H, W) of features (R, C, H, W) with a transformed kernel (36, C, K)."""
    shape = features.get_partial_shape()
    channels_in, height, width = (shape[axis].get_length() for axis in (1, 2, 3))
    tiling = _Tiling(height, width)
    is_single = shape[0].is_static  # one image, otherwise any number of RoIs
    patches = _patches(features, tiling, is_single)  # (36 T, R C)
    spectra = _transform_tiles(_INPUT_TRANSFORM, _reshape(patches, [_PATCH**2, -1]))
    products = opset.matmul(_reshape(spectra, [_PATCH**2, -1, channels_in]), kernel, False, False)  # (36, T R, K)
    tiles = _transform_tiles(_OUTPUT_TRANSFORM, _reshape(products, [_PATCH**2, -1]))  # (16, T R K)
    images = _join_tiles(tiles, tiling, is_single, channels_out)
    return _identity_convolution(opset.transpose(images, _integers([0, 3, 1, 2])), channels_out)


def _patches(features: ov.Output, tiling: _Tiling, is_single: bool) -> ov.Node:
    """The pixels (36 T, R C) of all patches of features (R, C, H, W), ordered as in `_Tiling.patch_pixels`."""
    height, width = tiling.input_size
    end = [0, 0, height - tiling.height - 1, width - tiling.width - 1]
    zero = opset.constant(np.float32(0))
    padded = opset.pad(features, _integers([0, 0, 1, 1]), _integers(end), 'constant', zero)
    # The layers before and after keep the channels last in memory, so for one image this moves no data.
    pixels = opset.transpose(padded, _integers([0, 2, 3, 1] if is_single else [2, 3, 0, 1]))
    flat = _reshape(pixels, [height * width, -1])
    return opset.gather(flat, _integers(tiling.patch_pixels()), _integers(0))


def _transform_tiles(matrix: NDArray[np.float64], tiles: ov.Node) -> ov.Node:
    """Apply a one-dimensional transform (M, N) along both axes of all tiles: (N * N, ...) becomes (M * M, ...)."""
    return opset.matmul(opset.constant(np.kron(matrix, matrix).astype(np.float32)), tiles, False, False)


def _transform_kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """G g G^T of a kernel (K, C, 3, 3), as (36, C, K)."""
    double = kernel.astype(np.float64)
    transformed = np.einsum('ia,kcab,jb->ijck', _KERNEL_TRANSFORM, double, _KERNEL_TRANSFORM, optimize=True)
    return transformed.reshape(_PATCH**2, kernel.shape[1], kernel.shape[0]).astype(np.float32)


def _join_tiles(tiles: ov.Node, tiling: _Tiling, is_single: bool, channels: int) -> ov.Node:
    """Images (R, H, W, K) of their tiles (16, T R K)."""
    height, width = tiling.output_size
    count = 1 if is_single else -1
    split = _reshape(tiles, [_TILE, _TILE, tiling.rows, tiling.columns, count, channels])
    in_place = opset.transpose(split, _integers([4, 2, 0, 3, 1, 5]))  # (R, rows, 4, columns, 4, K)
    images = _reshape(in_place, [count, height, width, channels])
    if (height, width) == (tiling.height, tiling.width):
        return images
    size = _integers([tiling.height, tiling.width])
    return opset.slice(images, _integers([0, 0]), size, _integers([1, 1]), _integers([1, 2]))


def _identity_convolution(features: ov.Node, channels: int) -> ov.Output:
    """A depthwise convolution with a kernel of 1, which changes no bit of features (R, K, H, W).

    OpenVINO fuses the bias and the ReLU that follow into it, and it takes its input with the channels last, so that
    the transpose before it moves no data.
    """
    ones = opset.constant(np.ones((channels, 1, 1, 1, 1), np.float32))
    return opset.group_convolution(features, ones, [1, 1], [0, 0], [0, 0], [1, 1]).output(0)


def _reshape(node: ov.Node, shape: list[int]) -> ov.Node:
    return opset.reshape(node, _integers(shape), False)


def _integers(values: int | list[int] | NDArray[np.int64]) -> ov.Node:
    return opset.constant(np.array(values, np.int64))
