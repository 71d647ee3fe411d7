"""TorchParts: the parts of a propagation network, run by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vis_ros.propagation.part import Part
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import load_propagation
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS


class TorchParts:
    """`NetworkParts` of a network in evaluation mode, on `device`."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        config = network.config
        assert isinstance(config, PropagationConfig)
        self.config = config
        self.network, self.device = network, device
        self._modules = PROPAGATION_SYSTEMS[config.architecture].parts(network)

    def run(self, part: str, *inputs: NDArray[Any], any_size: bool = False) -> tuple[NDArray[Any], ...]:
        return run_part(self._modules[part], self.device, *inputs)

    def weights(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        state = self.network.state_dict()
        chosen = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        return {name: value.detach().float().cpu().numpy().copy() for name, value in chosen.items()}

    @property
    def engine(self) -> str:
        """Description of the runtime, such as "torch 2.6.0, cpu, fp32"."""
        return f'torch {torch.__version__}, {self.device}, fp32'

    @property
    def device_name(self) -> str:
        """Name of the GPU, or 'cpu' with the number of threads."""
        is_gpu = self.device.type == 'cuda'
        return torch.cuda.get_device_name(self.device) if is_gpu else f'cpu ({torch.get_num_threads()} threads)'


@torch.inference_mode()
def run_part(part: Part, device: torch.device, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The outputs of a part, as arrays that the caller owns."""
    found = part(*(torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in inputs))
    return tuple(each.cpu().numpy() for each in (found if isinstance(found, tuple) else (found,)))


def load_torch_parts(
    path: Path, device: str = 'auto', threads: int = 0, config: PropagationConfig | None = None
) -> TorchParts:
    """The parts of a model file. device, threads: see `load_propagation_model`; config: see `load_propagation`."""
    if threads:
        torch.set_num_threads(threads)
    chosen = torch.device(device if device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu')
    return TorchParts(load_propagation(path, config).to(chosen), chosen)


def new_propagator(network: nn.Module, device: torch.device, **options: Any) -> Propagator:
    """A propagator for a network in torch. options: further arguments of the propagator of this system."""
    parts = TorchParts(network, device)
    return PROPAGATION_SYSTEMS[parts.config.architecture].propagator(parts, **options)
