"""CudaGraphs: the static network as CUDA graphs, one for each size of image, captured when it is first needed."""

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

_KEPT = 8
"""Graphs in memory; of more, the one unused for longest is dropped."""

_RUNS_BEFORE = 3
"""Libraries choose their algorithms and allocate in the first runs, which a graph must not contain."""

_TOLERANCE = 1e-2
"""Of scores: a replay may take other algorithms than the runs before, in half precision too."""

Network = Callable[[], tuple[Tensor, ...]]
Capture = Callable[[Network, torch.device], tuple[Callable[[], None], tuple[Tensor, ...]]]


class CudaGraphs:
    """Graphs of a network, of which this keeps a copy in `precision`.

    capture: `capture_graph`; a test has no GPU and gives its own.
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
            RuntimeError: the network cannot be captured, or its replay does not give what it gives.
        """
        graph = self._graphs.get(size)
        if graph is None:
            graph = self._new(size)
            self._graphs[size] = graph
            if len(self._graphs) > _KEPT:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(size)
        return graph

    def _new(self, size: tuple[int, int]) -> CudaGraph:
        try:
            return CudaGraph(self._detector, size, self._device, self._capture)
        except torch.OutOfMemoryError:
            if not self._graphs:
                raise
            self._graphs.clear()  # each has memory of its own
            return CudaGraph(self._detector, size, self._device, self._capture)


class CudaGraph:
    """The network for images of one padded size, with the buffers that it reads; each run writes over the last.

    image: (H, W, 3) BGR, uint8 or float32, in pinned memory: the resized picture at its top left and zeros elsewhere.
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
        """Detect in `image`, of which (height, width) pixels are picture, scaled by (x, y) from its source."""
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
        boxes, scores, labels, masks, embeddings, settled = (result[0].numpy() for result in self._results)
        rows = np.flatnonzero(scores > score_threshold)  # a copy of these rows: the next run writes over the buffers
        return NetworkOutputs(
            boxes[rows], scores[rows], labels[rows].astype(np.int64), masks[rows], embeddings[rows], bool(settled)
        )


def capture_graph(network: Network, device: torch.device) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """Capture a function of CUDA tensors; returns its replay, and the tensors that each replay fills.

    Raises:
        RuntimeError: it does something that a graph cannot contain, or its replay does not give what it gives.
    """
    with torch.cuda.device(device):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_RUNS_BEFORE):
                expected = network()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode='thread_local'):  # other threads may use the GPU meanwhile
            outputs = network()
        graph.replay()
        difference = float((outputs[1] - expected[1]).abs().max())
    if not difference <= _TOLERANCE:
        raise RuntimeError(
            f'the replay of the graph gives scores that differ by {difference:.3f} from those it replays'
        )
    return graph.replay, outputs
