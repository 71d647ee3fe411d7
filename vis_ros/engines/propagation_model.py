"""Loading a mask propagation network from a file, once for all cameras, into the engine that runs it."""

from __future__ import annotations

import logging
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vis_ros.engines.accuracy_check import InaccurateEngineError
from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.engines.propagation_check import check_propagation
from vis_ros.extras import missing, require
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.packaged_weights import propagation_weights
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_header import read_propagation_config
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.pts.proposals import rpn_proposals
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

_log = logging.getLogger(__name__)


class PropagationModel:
    """A loaded mask propagation network. Every camera gets its own propagator from `new`; all share the network.

    weights: path of the model file.
    engine: description of the runtime, such as "OpenVINO 2025.4, cpu, fp32".
    device: name of the GPU, or 'cpu' with the number of threads.
    """

    def __init__(self, parts: NetworkParts, weights: str, engine: str, device: str, **options: Any) -> None:
        self._parts, self._options = parts, options
        self.weights, self.engine, self.device = weights, engine, device

    def new(self) -> Propagator:
        """A propagator without objects."""
        return PROPAGATION_SYSTEMS[self._parts.config.architecture].propagator(self._parts, **self._options)


def load_propagation_model(
    model: str,
    weights: str = '',
    *,
    engine: str = 'auto',
    device: str = 'auto',
    threads: int = 0,
    detector: str = 'demo',
    fine_tune_steps: int = 0,
    fine_tune_in_background: bool = False,
    delayed: bool = False,
    matching_stride: int = 0,
    precision: str = 'auto',
    accuracy_check: bool = True,
) -> PropagationModel:
    """Load a mask propagation network.

    Args:
        model: name of the system: 'maskrnn', 'rgmp', 'pts' or 'feelvos'.
        weights: path of a .safetensors file; '' takes the packaged weights.
        engine: 'openvino', 'torch' or 'auto': OpenVINO on a CPU if the network has sound graphs, otherwise torch. No
            propagation network runs in TensorRT: 'tensorrt' is taken for 'auto'.
        device: 'auto' (CUDA if available), 'cpu', 'cuda' or 'cuda:N'.
        threads: CPU threads; 0 leaves the choice to the library.
        detector: PTS only: name or path of the Mask R-CNN whose RPN proposes boxes.
        fine_tune_steps: PTS only: steps of fine-tuning on the first mask of each object, about 0.25 s each on a CPU.
        fine_tune_in_background: PTS only: fine-tune in a thread, while the object is tracked with the untuned weights.
        delayed: MaskRNN only: whether the caller gives each `step` the next image. Weights trained with causal: false
            need it, others cannot use it.
        matching_stride: FEELVOS only: stride in pixels of the embeddings that are matched; 0 is that of the weights.
        precision: 'bf16' computes in bf16 where OpenVINO runs the network and the processor supports it; all others,
            and PTS, compute in fp32.
        accuracy_check: compare the masks of bf16 with those of fp32 first.

    Raises:
        ValueError: the file holds another network, the engine cannot run it here, or bf16 does not keep the masks.
        FileNotFoundError: the file or its graphs do not exist.
    """
    path = Path(weights) if weights else propagation_weights(model)
    if not path.is_file():
        raise FileNotFoundError(
            f'the weights of {model} are {str(path)!r}, which is not a file: give its path, or leave it empty for the '
            'packaged weights'
        )
    config = read_propagation_config(path)
    if config.architecture != model:
        raise ValueError(f'{path} holds a {config.architecture} network, not {model}')
    if delayed and not config.delayed:
        raise ValueError(
            f'delayed is set, but {path} cannot use the next image: set propagation_weights to MaskRNN weights trained '
            'with causal: false'
        )
    if config.delayed and not delayed:
        raise ValueError(f'{path} needs the next image of each image: set delayed to true, with model maskrnn')
    if matching_stride:
        config = config.with_stride(matching_stride)
    if fine_tune_steps:
        require('torch', 'fine-tuning, which fine_tune_steps asks for,')
    chosen = _chosen(engine, device, fine_tune_steps)
    reduced = precision == 'bf16' and PROPAGATION_SYSTEMS[model].allows_bf16
    if chosen == 'openvino':
        try:
            return _in_openvino(path, config, device, threads, detector, reduced, accuracy_check)
        except InaccurateEngineError:
            raise
        except (ValueError, OSError) as error:  # such as damaged graphs
            if engine == 'openvino' or missing('torch'):
                raise
            _log.warning('%s does not run in OpenVINO and runs in torch: %s', model, error)
    return _in_torch(path, config, device, threads, (detector, fine_tune_steps, fine_tune_in_background))


def _chosen(engine: str, device: str, fine_tune_steps: int) -> str:
    if fine_tune_steps:
        if engine == 'openvino':
            raise ValueError('OpenVINO cannot fine-tune: set engine to auto or torch, or fine_tune_steps to 0')
        return 'torch'
    if engine not in ('auto', 'tensorrt'):
        return engine
    on_cpu = device == 'cpu' or (device == 'auto' and not nvidia_gpus())
    return 'openvino' if find_spec('openvino') is not None and (on_cpu or missing('torch')) else 'torch'


def _in_openvino(
    path: Path, config: PropagationConfig, device: str, threads: int, detector: str, reduced: bool, accuracy_check: bool
) -> PropagationModel:
    if device not in ('auto', 'cpu'):
        raise ValueError(f'OpenVINO runs on the CPU, not on device {device!r}; use auto or cpu')
    if find_spec('openvino') is None:
        raise ValueError('the engine openvino needs OpenVINO, which is not installed: pip install openvino')
    from vis_ros.engines.openvino.openvino_graphs import OpenVinoGraphs
    from vis_ros.engines.openvino.openvino_parts import OpenVinoParts
    from vis_ros.export.part_graphs import PROPOSALS, find_proposal_graph

    precision, options = 'bf16' if reduced else 'fp32', {}
    parts = OpenVinoParts(path, config, precision, threads)
    if reduced and accuracy_check:
        check_propagation(parts, OpenVinoParts(path, config, threads=threads), precision)
    if PROPAGATION_SYSTEMS[config.architecture].uses_proposals:
        weights = resolve(detector)
        graphs = OpenVinoGraphs({PROPOSALS: find_proposal_graph(weights)}, weights, threads=threads)
        options['proposals'] = rpn_proposals(partial(graphs.run, PROPOSALS), read_config(weights, 'mask_rcnn'))
    return PropagationModel(parts, str(path), parts.engine, parts.device_name, **options)


def _in_torch(
    path: Path, config: PropagationConfig, device: str, threads: int, extra: tuple[str, int, bool]
) -> PropagationModel:
    require('torch', f'the model {config.architecture} in the engine torch')
    from vis_ros.propagation.torch_parts import load_torch_parts, run_part

    parts, options = load_torch_parts(path, device, threads, config), {}
    if PROPAGATION_SYSTEMS[config.architecture].uses_proposals:
        from vis_ros.networks.model_file import load_model
        from vis_ros.propagation.pts.rpn_boxes import RpnBoxes

        detector, fine_tune_steps, in_background = extra
        network = load_model(resolve(detector), 'mask_rcnn').to(parts.device)
        proposals = rpn_proposals(partial(run_part, RpnBoxes(network), parts.device), network.config)
        options = {'proposals': proposals, 'fine_tune_steps': fine_tune_steps, 'in_background': in_background}
    return PropagationModel(parts, str(path), parts.engine, parts.device_name, **options)
