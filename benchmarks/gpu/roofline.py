"""The minimum time of a network on a GPU by the roofline model.

Each layer with weights takes the longer of two times: its operations at the rate of a large matrix product, and its
input, weights and output once over the memory bus. Both ceilings are measured with torch. Layers without weights are
not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gpu.timing import milliseconds
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import padded


def least_ms(weights: str, config: ModelConfig, precision: str, batch: int, size: tuple[int, int]) -> dict[str, Any]:
    """Minimum milliseconds of a batch, with what it follows from."""
    ceilings = ceilings_of_gpu()
    layers = heavy_layers(weights, config, batch, 4 if precision == 'fp32' else 2, size)
    peak, bandwidth = ceilings[precision], ceilings['bandwidth']
    least = sum(max(layer['operations'] / peak, layer['bytes'] / bandwidth) for layer in layers) * 1000
    return {
        'operations [G]': round(sum(layer['operations'] for layer in layers) / 1e9, 2),
        'memory traffic [MB]': round(sum(layer['bytes'] for layer in layers) / 1e6, 1),
        'measured ceiling [TFLOP/s]': round(peak / 1e12, 1),
        'measured ceiling [GB/s]': round(bandwidth / 1e9, 1),
        'minimum time [ms]': round(least, 4),
    }


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


def heavy_layers(
    weights: str, config: ModelConfig, batch: int, item_size: int, size: tuple[int, int]
) -> list[dict[str, float]]:
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
    detector(**example_inputs(detector, padded(size), batch))
    return layers
