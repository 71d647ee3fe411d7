"""CudaGraphs: the static network as CUDA graphs, one for each image size, captured when it is first needed."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.export.static_detector import StaticDetector
from vis_ros.networks.mask_rcnn import MaskRCNN

MAX_GRAPHS_IN_MEMORY = 8
"""Number of graphs in memory. Beyond it, the least recently used one is dropped."""

_WARM_UP_RUNS = 3
"""Runs before the capture. In the first ones libraries choose algorithms and allocate, which a graph cannot contain."""

_MAX_SCORE_DIFFERENCE = 1e-2
"""Between a replay and a normal run: a replay may use other algorithms, and compute in half precision."""

Network = Callable[[], tuple[Tensor, ...]]
Capture = Callable[[Network, torch.device], tuple[Callable[[], None], tuple[Tensor, ...]]]


class CudaGraphs:
    """Captures a network for each image size and keeps the graphs.

    Args:
        network: is copied, and the copy converted to `precision`.
        precision: the type that the layers compute in.
        device: the GPU.
        capture: called in place of `capture_graph`, for tests without a GPU.
    """

    def __init__(
        self, network: MaskRCNN, precision: torch.dtype, device: torch.device, capture: Capture | None = None
    ) -> None:
        static = StaticDetector(copy.deepcopy(network), 'gpu', precision).eval().requires_grad_(False)
        self._detector = static.to(memory_format=torch.channels_last)
        self._device = device
        self._capture = capture or capture_graph
        self._graphs: OrderedDict[tuple[int, int], CudaGraph] = OrderedDict()

    def of_size(self, size: tuple[int, int]) -> CudaGraph:
        """The graph for a padded (height, width), multiples of 32.

        Raises:
            RuntimeError: the network cannot be captured, or a replay gives a different result.
        """
        graph = self._graphs.get(size)
        if graph is None:
            graph = self._capture_size(size)
            self._graphs[size] = graph
            if len(self._graphs) > MAX_GRAPHS_IN_MEMORY:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(size)
        return graph

    def _capture_size(self, size: tuple[int, int]) -> CudaGraph:
        try:
            return CudaGraph(self._detector, size, self._device, self._capture)
        except torch.OutOfMemoryError:
            if not self._graphs:
                raise
            self._graphs.clear()  # each graph has its own memory
            return CudaGraph(self._detector, size, self._device, self._capture)


class CudaGraph:
    """The network for one padded image size, with the buffers that it reads. Each run overwrites the last one.

    Attributes:
        image: (H, W, 3) BGR, uint8 or float32, in pinned memory. The caller writes the resized image to its top left
            corner and zeros to the rest.
    """

    def __init__(self, detector: StaticDetector, size: tuple[int, int], device: torch.device, capture: Capture) -> None:
        pixels = torch.float32 if detector.config.resize == 'float' else torch.uint8
        shapes = {'images': (1, *size, 3), 'sizes': (1, 2), 'scales': (1, 2), 'score_threshold': (1,)}
        self._pinned = device.type == 'cuda'
        self._host = {
            name: torch.ones(shape, dtype=pixels if name == 'images' else torch.float32, pin_memory=self._pinned)
            for name, shape in shapes.items()
        }
        self._host['sizes'][:] = torch.tensor(size)
        self._inputs = [tensor.to(device) for tensor in self._host.values()]
        self._device = device
        self._replay, self._outputs = capture(lambda: detector(*self._inputs), device)
        self._results = [torch.empty(out.shape, dtype=out.dtype, pin_memory=self._pinned) for out in self._outputs]
        self._host['images'].zero_()
        self.image = self._host['images'][0].numpy()

    def run(self, size: tuple[int, int], scale: tuple[float, float], score_threshold: float) -> NetworkOutputs:
        """Detect objects in `image`.

        Args:
            size: (height, width) of the resized image inside `image`.
            scale: (x, y) factors from source pixels to pixels of `image`.
            score_threshold: detections with a lower score are dropped.
        """
        self._host['sizes'][:] = torch.tensor(size)
        self._host['scales'][:] = torch.tensor(scale)
        self._host['score_threshold'].fill_(score_threshold)
        for tensor, source in zip(self._inputs, self._host.values(), strict=True):
            tensor.copy_(source, non_blocking=True)
        self._replay()
        for result, output in zip(self._results, self._outputs, strict=True):
            result.copy_(output, non_blocking=True)
        if self._pinned:
            torch.cuda.current_stream(self._device).synchronize()
        boxes, scores, labels, masks, embeddings, converged = (result[0].numpy() for result in self._results)
        rows = np.flatnonzero(scores > score_threshold)  # indexing copies: the next run overwrites the buffers
        return NetworkOutputs(
            boxes[rows], scores[rows], labels[rows].astype(np.int64), masks[rows], embeddings[rows], bool(converged)
        )


def capture_graph(network: Network, device: torch.device) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """Capture a function of CUDA tensors; returns a function that replays it, and the tensors that a replay fills.

    Raises:
        RuntimeError: the function cannot be captured, or a replay gives a different result.
    """
    with torch.cuda.device(device):
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(_WARM_UP_RUNS):
                expected = network()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode='thread_local'):  # other threads may use the GPU
            outputs = network()
        graph.replay()
        difference = float((outputs[1] - expected[1]).abs().max())
    if not difference <= _MAX_SCORE_DIFFERENCE:
        raise RuntimeError(f'a replay of the CUDA graph gives scores that differ by {difference:.3f} from a normal run')
    return graph.replay, outputs
