"""Loading a mask propagation network from a file, once for all cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis_ros.extras import require
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

if TYPE_CHECKING:
    import torch
    from torch import nn

_WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'


class PropagationModel:
    """A loaded mask propagation network. Every camera gets its own propagator from `new`; all share the network.

    weights: path of the model file.
    engine: description of the runtime, such as "torch 2.6.0, cpu, fp32".
    device: name of the GPU, or 'cpu' with the number of threads.
    """

    def __init__(self, network: nn.Module, device: torch.device, weights: str, **options: Any) -> None:
        import torch

        self._network, self._device, self._options = network.to(device), device, options
        self.weights = weights
        is_gpu = device.type == 'cuda'
        self.device = torch.cuda.get_device_name(device) if is_gpu else f'cpu ({torch.get_num_threads()} threads)'
        self.engine = f'torch {torch.__version__}, {device}, fp32'

    def new(self) -> Propagator:
        """A propagator without objects."""
        return new_propagator(self._network, self._device, **self._options)


def new_propagator(network: nn.Module, device: torch.device, **options: Any) -> Propagator:
    """A propagator for a network. options: further arguments of the propagator of this system."""
    config = network.config
    assert isinstance(config, PropagationConfig)
    return PROPAGATION_SYSTEMS[config.architecture].propagator(network, device, **options)


def propagation_weights(model: str) -> Path:
    """Path of the packaged weights of a system. FileNotFoundError says what to do if there are none."""
    path = _WEIGHTS / f'{model}.safetensors'
    if not path.is_file():
        packaged = [name for name in PROPAGATION_SYSTEMS if (_WEIGHTS / f'{name}.safetensors').is_file()]
        raise FileNotFoundError(
            f'there are no packaged weights for {model} (only for {", ".join(packaged) or "no model"}): '
            f'train them with `vis-ros train config/train_{model}.yaml` and set propagation_weights to the file'
        )
    return path


def load_propagation_model(
    model: str, weights: str = '', *, device: str = 'auto', threads: int = 0, fine_tune_steps: int = 0
) -> PropagationModel:
    """Load a mask propagation network.

    Args:
        model: name of the system: 'maskrnn', 'rgmp', 'pts' or 'feelvos'.
        weights: path of a .safetensors file; '' takes the packaged weights.
        device: 'auto' (CUDA if available), 'cpu', 'cuda' or 'cuda:N'.
        threads: CPU threads of torch; 0 leaves the choice to torch.
        fine_tune_steps: PTS only: steps of fine-tuning on the first mask of each object, about 0.25 s each on a CPU.

    Raises:
        ValueError: the file holds another network, or torch is not installed.
        FileNotFoundError: the file does not exist.
    """
    require('torch', f'the model {model}')
    path = Path(weights) if weights else propagation_weights(model)
    if not path.is_file():
        raise FileNotFoundError(f'the weights {path} of {model} do not exist')
    import torch

    from vis_ros.propagation.propagation_file import load_propagation

    network = load_propagation(path)
    config = network.config
    assert isinstance(config, PropagationConfig)
    if config.architecture != model:
        raise ValueError(f'{path} holds a {config.architecture} network, not {model}')
    if threads:
        torch.set_num_threads(threads)
    chosen = torch.device(device if device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu')
    load_options = PROPAGATION_SYSTEMS[model].options
    options = load_options(chosen, fine_tune_steps) if load_options else {}
    return PropagationModel(network, chosen, str(path), **options)
