"""PropagationModel of a network that is loaded once: one for each camera."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis_ros.extras import require
from vis_ros.propagation.propagation_config import PROPAGATION_CONFIGS, PropagationConfig
from vis_ros.propagation.propagator import Propagator

if TYPE_CHECKING:
    import torch
    from torch import nn

PROPAGATORS: Mapping[str, tuple[str, str]] = {
    'maskrnn': ('vis_ros.propagation.maskrnn.propagator', 'MaskRnnPropagator'),
    'rgmp': ('vis_ros.propagation.rgmp.propagator', 'RgmpPropagator'),
    'pts': ('vis_ros.propagation.pts.propagator', 'PtsPropagator'),
    'feelvos': ('vis_ros.propagation.feelvos.propagator', 'FeelvosPropagator'),
}
"""Architecture -> module and class of its propagator."""

_WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'


class PropagationModel:
    """The network of an architecture, loaded; `new` makes the propagator of a camera.

    weights: the file; engine: what runs, in words.
    """

    def __init__(self, network: nn.Module, device: torch.device, weights: str, **of_pts: Any) -> None:
        import torch

        self._network, self._device, self._of_pts = network.to(device), device, of_pts
        self.weights = weights
        self.engine = f'torch {torch.__version__}, {device}, fp32'

    def new(self) -> Propagator:
        """A propagator without objects."""
        return new_propagator(self._network, self._device, **self._of_pts)


def new_propagator(network: nn.Module, device: torch.device, **of_pts: Any) -> Propagator:
    """The propagator of a network. of_pts: further arguments of `PtsPropagator`, only for a PTS."""
    config = network.config
    assert isinstance(config, PropagationConfig)
    module, name = PROPAGATORS[config.architecture]
    propagator: Propagator = getattr(import_module(module), name)(network, device, **of_pts)
    return propagator


def propagation_weights(model: str) -> Path:
    """The packaged weights of an architecture. FileNotFoundError says what to do where there are none."""
    path = _WEIGHTS / f'{model}.safetensors'
    if not path.is_file():
        packaged = [name for name in PROPAGATION_CONFIGS if (_WEIGHTS / f'{name}.safetensors').is_file()]
        raise FileNotFoundError(
            f'no weights of {model} are packaged (there are {", ".join(packaged) or "none"}): train them with '
            f'`vis-ros train config/train_{model}.yaml` and give the file'
        )
    return path


def load_propagation_model(
    model: str, weights: str = '', *, device: str = 'auto', threads: int = 0, fine_tune_steps: int = 0
) -> PropagationModel:
    """Load a network that carries masks along.

    Args:
        model: 'maskrnn', 'rgmp', 'pts' or 'feelvos'.
        weights: path of its .safetensors file; '' takes the packaged ones.
        device: 'auto' (CUDA where it is there), 'cpu', 'cuda' or 'cuda:N'.
        threads: of the processor; 0 leaves the choice to torch.
        fine_tune_steps: of PTS, on the first mask of each object, once, about a quarter of a second each on a CPU.

    Raises:
        ValueError: the file is of another network, or torch is not installed.
        FileNotFoundError: there is no such file.
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
        raise ValueError(f'{path} holds a {config.architecture}, not a {model}')
    if threads:
        torch.set_num_threads(threads)
    chosen = device if device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    of_pts = {}
    if model == 'pts':
        of_pts = {'proposals': _proposals(torch.device(chosen)), 'fine_tune_steps': fine_tune_steps}
    return PropagationModel(network, torch.device(chosen), str(path), **of_pts)


def _proposals(device: torch.device) -> Any:
    """The RPN of the packaged detector."""
    from vis_ros.networks.model_file import load_model
    from vis_ros.networks.named_weights import resolve
    from vis_ros.propagation.pts.proposals import rpn_proposals

    return rpn_proposals(load_model(resolve('demo'), 'mask_rcnn').to(device), device)
