"""TensorRT on the GPU of this machine: accuracy, time, and the minimum time by the roofline model.

    python -m benchmarks.tensorrt_gpu [--weights demo] [--precision fp16] [--frames 200] [--batch 1] [--out FILE.json]

Parity is with torch in fp32 on the CPU, on frames of the synthetic scene. Roofline: each layer with weights takes the
longer of two times, its operations at the rate of a large matrix product, and its input, weights and output once over
the memory bus. Both ceilings are measured here with torch. Layers without weights are not counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.accuracy_check import count_matches
from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine, network_config
from vis_ros.engines.tensorrt.tensorrt_engine import TensorRtEngine
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import padded
from vis_ros.percentiles import percentiles
from vis_ros.synthetic.scene import Scene

SOURCE_SIZE = (720, 1280)
CONFIDENT, MIN_IOU = 0.3, 0.9


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--precision', default='fp16', choices=['fp16', 'fp32', 'bf16'])
    parser.add_argument('--frames', type=int, default=200)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--out', type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.weights, arguments.precision, arguments.frames, arguments.batch)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + '\n')
    for name, value in figures.items():
        print(f'{name:44} {value}')


def measure(weights: str, precision: str, count: int, batch: int) -> dict[str, Any]:
    """All results by name."""
    frames = [Scene(seed, SOURCE_SIZE).frame(200).image for seed in range(100, 100 + max(count // 10, 1))]
    first, starting = timed(lambda: load(weights, precision, batch))
    del first  # free its GPU memory
    engine, restarting = timed(lambda: load(weights, precision, batch))
    info = engine.describe()
    total, matched = accuracy(engine, weights, frames)
    infer = milliseconds(lambda: engine.infer(frames[:1] * batch), count)
    launch = milliseconds(engine._detector._session.run, count)
    eager, graph = torch_on_gpu(weights, 'fp32', graph=False), torch_on_gpu(weights, precision, graph=True)
    graph_total, graph_matched = accuracy(graph, weights, frames)
    eager_times, graph_times = (
        milliseconds(lambda engine=one: engine.infer(frames[:1]), count)  # type: ignore[misc]
        for one in (eager, graph)
    )
    ceilings = ceilings_of_gpu()
    layers = heavy_layers(weights, engine.config, batch, 4 if precision == 'fp32' else 2)
    peak, bandwidth = ceilings[precision], ceilings['bandwidth']
    least = sum(max(layer['operations'] / peak, layer['bytes'] / bandwidth) for layer in layers) * 1000
    return {
        'engine': info.engine,
        'GPU': info.device,
        'precision of the engine': info.precision,
        'input': 'x'.join(map(str, engine.input_size)) + f', batch {batch}',
        'notes': info.note or 'none',
        'accuracy: matched / confident detections': share(matched, total),
        'start with the cache as it was [s]': round(starting, 2),
        'start with a warm cache [s]': round(restarting, 2),
        'copies and network, batch p50, p95 [ms]': p50_p95(launch),
        'infer from 720p, batch p50, p95 [ms]': p50_p95(infer),
        'frames per second': round(1000 * batch / float(np.median(infer)), 1),
        'operations of convolutions and products [G]': round(sum(layer['operations'] for layer in layers) / 1e9, 2),
        'memory traffic of these [MB]': round(sum(layer['bytes'] for layer in layers) / 1e6, 1),
        'measured ceiling [TFLOP/s]': round(peak / 1e12, 1),
        'measured ceiling [GB/s]': round(bandwidth / 1e9, 1),
        'minimum time by the roofline [ms]': round(least, 3),
        'share of the roofline': round(least / float(np.median(launch)), 3),
        'torch, fp32, no graph, image p50, p95 [ms]': p50_p95(eager_times),
        f'torch, {precision}, CUDA graph, image p50, p95 [ms]': p50_p95(graph_times),
        'notes of torch with CUDA graph': graph.describe().note or 'none',
        'accuracy of torch with CUDA graph': share(graph_matched, graph_total),
        'speed-up over torch without graph, per image': round(
            float(np.median(eager_times) / np.median(infer)) * batch, 2
        ),
    }


def load(weights: str, precision: str, batch: int) -> TensorRtEngine:
    path = resolve(weights)
    config = network_config(path, score_threshold=CONFIDENT / 2)
    engine = TensorRtEngine(path, config, precision=precision, batch=batch)
    engine.warm_up()
    return engine


def accuracy(engine: Engine, weights: str, frames: list[NDArray[np.uint8]]) -> tuple[int, int]:
    """Number of confident detections of both engines, and how many of them match one of the other engine."""
    reference = load_engine(weights, engine='torch', device='cpu', precision='fp32', score_threshold=CONFIDENT / 2)
    return count_matches(engine.infer(frames), reference.infer(frames), CONFIDENT, MIN_IOU)


def torch_on_gpu(weights: str, precision: str, graph: bool) -> Engine:
    """The torch engine with or without its CUDA graph."""
    from vis_ros.engines.torch.torch_engine import TorchEngine

    path = resolve(weights)
    config = network_config(path, score_threshold=CONFIDENT / 2)
    engine = TorchEngine(path, config, device='cuda', precision=precision)
    if not graph:
        engine._graphs = None
    engine.warm_up()
    return engine


def ceilings_of_gpu() -> dict[str, float]:
    """Operations per second of a large matrix product by precision, and bytes per second ('bandwidth')."""
    import torch

    def rate(work: Callable[[], object], amount: float) -> float:
        def run() -> None:
            for _ in range(10):
                work()
            torch.cuda.synchronize()

        run()
        return 10 * amount / (min(milliseconds(run, 5)) / 1000)

    side = 8192
    ceilings = {}
    for name, dtype in (('fp32', torch.float32), ('fp16', torch.float16), ('bf16', torch.bfloat16)):
        matrix = torch.randn(side, side, device='cuda', dtype=dtype)
        ceilings[name] = rate(lambda matrix=matrix: matrix @ matrix, 2 * side**3)
    block = torch.empty(1 << 28, dtype=torch.uint8, device='cuda')
    ceilings['bandwidth'] = rate(block.clone, 2 * block.numel())
    return ceilings


def heavy_layers(weights: str, config: ModelConfig, batch: int, item_size: int) -> list[dict[str, float]]:
    """Operations and bytes of each layer with weights in the static network; each tensor is read or written once."""
    import torch
    from torch import nn

    from vis_ros.export.graph_export import example_inputs
    from vis_ros.export.static_detector import StaticDetector
    from vis_ros.networks.model_file import load_model

    network = load_model(resolve(weights), config.architecture)
    network.config = config
    detector = StaticDetector(network, 'gpu', torch.float32).eval()
    layers: list[dict[str, float]] = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        # Each weight is used once per spatial element of the output (transposed convolution: of the input).
        elements = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        channels = elements.shape[-1] if isinstance(layer, nn.Linear) else elements.shape[1]
        tensors = (inputs[0], layer.weight, output)
        layers.append(
            {
                'operations': 2.0 * layer.weight.numel() * elements.numel() / channels,
                'bytes': float(sum(tensor.numel() for tensor in tensors) * item_size),
            }
        )

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.register_forward_hook(note)
    detector(**example_inputs(detector, padded((config.input_height, config.input_width)), batch))
    return layers


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def milliseconds(work: Callable[[], object], count: int) -> NDArray[np.float64]:
    """Times of `count` runs after a warm-up."""
    for _ in range(10):
        work()
    return np.array([timed(work)[1] * 1000 for _ in range(count)])


def share(matched: int, total: int) -> str:
    return f'{matched} / {total} = {matched / max(total, 1):.4f}'


def p50_p95(times: NDArray[np.float64]) -> str:
    return '{:.2f}, {:.2f}'.format(*percentiles(times, 50, 95))


if __name__ == '__main__':
    main()
