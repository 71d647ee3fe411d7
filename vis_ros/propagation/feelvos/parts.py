"""The parts of FEELVOS with fixed shapes. They are traced to graphs, so sizes enter as tensors and no loop depends on
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.network_input import normalized
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.feelvos.matching import distance, outside_window
from vis_ros.propagation.feelvos.network import STRIDE, Feelvos, enlarge, object_maps
from vis_ros.propagation.feelvos.reference_bank import CHUNK, FAR, ReferenceBank
from vis_ros.propagation.part import Axes, Part

_BLOCK = 8
"""Side of the blocks of cells that local matching compares with one window."""


def feelvos_parts(network: Feelvos) -> Mapping[str, Part]:
    """Name -> part.

    `encode` runs once for each image; `global_distances` once for all objects; `window_distances` once for each
    previous frame; `local_distances` and `segment` once for each object, the background included.
    """
    return {
        'encode': FeelvosEncode(network),
        'global_distances': GlobalDistances(network.config),
        'window_distances': WindowDistances(network.config),
        'local_distances': LocalDistances(network.config),
        'segment': FeelvosSegment(network),
    }


class FeelvosEncode(nn.Module):
    """An image (H, W, 3) uint8 BGR to what all objects share in the head (1, C, H / 4, W / 4), and its embeddings
    (h, w, E).
    """

    axes: ClassVar[Axes] = {'image': (0, 1)}

    def __init__(self, network: Feelvos) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features, embeddings = self.network.encode(normalized(image, self.network.config))
        return self.network.head.shared(features), embeddings[0].permute(1, 2, 0).contiguous()

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8)]


class GlobalDistances(nn.Module):
    """Distances (K, Q) of embeddings (Q, E) to the nearest one of each of K objects in a `ReferenceBank`."""

    axes: ClassVar[Axes] = {'query': (0,), 'chunks': (0,), 'owners': (0, 1)}

    def __init__(self, config: FeelvosConfig) -> None:
        super().__init__()
        self._channels = config.embedding_size

    def forward(self, query: Tensor, chunks: Tensor, owners: Tensor) -> Tensor:
        extended = torch.cat((query, torch.ones_like(query[:, :1])), 1)
        products = torch.matmul(extended, chunks.reshape(-1, self._channels + 1).T)
        nearest = products.reshape(query.shape[0], -1, CHUNK).amin(2)
        squared = (nearest[None] + owners[:, None]).amin(2) + (query * query).sum(1)
        return distance(squared.clamp(min=0))

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        query, first, second = (torch.rand(count, self._channels) for count in (40, 200, 3))
        bank = ReferenceBank.of([first.numpy(), second.numpy()])
        return [query, torch.from_numpy(bank.chunks), torch.from_numpy(bank.owners)]


class WindowDistances(nn.Module):
    """Squared distances (B, 64, S * S) of each cell of B blocks of 8 x 8 cells to the cells of the previous frame in
    the window of its block, whose side S is 8 + 2 * window. Cells outside the window of the cell itself are FAR.

    Takes the embeddings (h, w, E) of the frame and of its previous frame.
    """

    axes: ClassVar[Axes] = {'query': (0, 1), 'previous': (0, 1)}

    def __init__(self, config: FeelvosConfig) -> None:
        super().__init__()
        self._window, self._channels = config.local_window, config.embedding_size
        self._stride = config.matching_stride

    def forward(self, query: Tensor, previous: Tensor) -> Tensor:
        side = _BLOCK + 2 * self._window
        pixels = _windows(query, 0).reshape(-1, _BLOCK**2, self._channels)
        candidates = _windows(previous, self._window).reshape(-1, side**2, self._channels)
        products = torch.matmul(pixels, candidates.transpose(1, 2))
        norms = _windows((previous * previous).sum(2, keepdim=True), self._window).reshape(-1, 1, side**2)
        norms = norms + (pixels * pixels).sum(2, keepdim=True)
        return norms + outside_window(self._window, _BLOCK, query.device) - 2 * products

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        shape = (size[0] // self._stride, size[1] // self._stride, self._channels)
        return [torch.rand(shape), torch.rand(shape)]


class LocalDistances(nn.Module):
    """Distances (1, h, w) of each cell to the nearest one of an object in the previous frame (equation 4).

    Takes what `WindowDistances` returns, and the cells (h, w) float of the object in the previous frame, 1 or 0.
    """

    axes: ClassVar[Axes] = {'windows': (0,), 'cells': (0, 1)}

    def __init__(self, config: FeelvosConfig) -> None:
        super().__init__()
        self._window, self._stride = config.local_window, config.matching_stride

    def forward(self, windows: Tensor, cells: Tensor) -> Tensor:
        side = _BLOCK + 2 * self._window
        there = _windows(cells[:, :, None], self._window, beyond=0.0).reshape(-1, 1, side**2)
        nearest = (windows + (1 - there) * FAR).amin(2)
        rows, columns = _blocks(cells.shape[0]), _blocks(cells.shape[1])
        ordered = nearest.reshape(rows, columns, _BLOCK, _BLOCK).transpose(1, 2)
        whole = ordered.reshape(1, rows * _BLOCK, columns * _BLOCK)
        return distance(whole[:, : cells.shape[0], : cells.shape[1]].clamp(min=0))

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        height, width = (side // self._stride for side in size)
        windows = torch.rand(_blocks(height) * _blocks(width), _BLOCK**2, (_BLOCK + 2 * self._window) ** 2)
        return [windows, (torch.rand(height, width) > 0.5).float()]


class FeelvosSegment(nn.Module):
    """Logits (1, H, W) of an object, whose softmax over the background and all objects are the probabilities.

    Takes what `FeelvosEncode` returns first, the global and the local distances (1, h, w), and the mask in the previous
    frame at stride 4, (1, H / 4, W / 4) float.
    """

    axes: ClassVar[Axes] = {'shared': (2, 3), 'global_maps': (1, 2), 'local_maps': (1, 2), 'previous': (1, 2)}

    def __init__(self, network: Feelvos) -> None:
        super().__init__()
        self.network = network

    def forward(self, shared: Tensor, global_maps: Tensor, local_maps: Tensor, previous: Tensor) -> Tensor:
        maps = object_maps(global_maps, local_maps, previous)
        return enlarge(self.network.head.logits(shared, maps)[:, 0])

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        config = self.network.config
        fine = [side // STRIDE for side in size]
        coarse = [side // config.matching_stride for side in size]
        shared = torch.rand(1, config.head_channels, *fine)
        return [shared, torch.rand(1, *coarse), torch.rand(1, *coarse), (torch.rand(1, *fine) > 0.5).float()]


def _blocks(cells: int) -> int:
    """Number of blocks that cover a row or column of cells."""
    return (cells + _BLOCK - 1) // _BLOCK


def _windows(planes: Tensor, window: int, beyond: float | None = None) -> Tensor:
    """Windows (rows, columns, S, S, C) of the blocks of planes (h, w, C).

    beyond: value outside the planes; None repeats the border, which is cheaper.
    """
    side = _BLOCK + 2 * window
    for axis in (0, 1):
        length = planes.shape[axis]
        starts = torch.arange(_blocks(length), device=planes.device) * _BLOCK - window
        places = (starts[:, None] + torch.arange(side, device=planes.device)).flatten()
        taken = planes.index_select(axis, places.clamp(min=0).minimum(torch.zeros_like(places) + length - 1))
        if beyond is not None:
            inside = (places >= 0) & (places < length)
            shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
            taken = torch.where(inside.reshape(shape), taken, torch.full_like(taken, beyond))
        planes = taken
    channels = planes.shape[2]
    return planes.reshape(-1, side, planes.shape[1] // side, side, channels).transpose(1, 2)
