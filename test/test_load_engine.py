"""load_engine: which engine is chosen, and what its note says about the others."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from vis_ros.engines import loading, nvidia
from vis_ros.engines.engine import ENGINES
from vis_ros.engines.loading import load_engine
from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.named_weights import path_of

Fakes = Callable[..., list[str]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Engines that only record their arguments, on a simulated machine with or without a GPU and its libraries."""
    made: list[str] = []

    def build(gpu: bool = False, tensorrt: bool = True, torch_cuda: bool = True, torch: bool = True,
              faults: dict[str, str] | None = None, first_run: dict[str, str] | None = None) -> list[str]:  # fmt: skip
        def fake(name: str) -> type:
            def construct(self: Any, path: object, config: ModelConfig, note: str = '', **arguments: Any) -> None:
                made.append(name)
                if name in (faults or {}):
                    raise RuntimeError((faults or {})[name])
                self.name, self.config, self.note, self.arguments = name, config, note, arguments

            def infer(self: Any, images: object) -> None:
                if name in (first_run or {}):
                    raise RuntimeError((first_run or {})[name])

            info = types.SimpleNamespace(precision='fp32')
            return type(name, (), {'__init__': construct, 'describe': lambda self: info,
                               'input_size': (8, 8), 'infer': infer})  # fmt: skip

        modules = {
            'tensorrt': {'TensorRtEngine': fake('tensorrt')},
            'openvino': {'OpenVinoEngine': fake('openvino')},
            'torch': {'TorchEngine': fake('torch'), 'finds_gpu': lambda: torch_cuda},
        }
        for name, members in modules.items():
            module = types.ModuleType(f'vis_ros.engines.{name}.{name}_engine')
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(loading, 'nvidia_gpus', lambda: ('Fake GPU',) if gpu else ())
        monkeypatch.setattr(loading, 'missing', lambda extra: () if torch else ('torch',))
        found = {'tensorrt': tensorrt, 'openvino': True}
        monkeypatch.setattr(loading, 'find_spec', lambda name: object() if found.get(name) else None)
        return made

    return build


def chosen(**arguments: Any) -> Any:
    return load_engine('demo', **arguments)


def test_without_a_gpu_openvino_runs_and_there_is_no_note(machine: Fakes) -> None:
    made = machine()
    engine = chosen()
    assert (engine.name, engine.note, made) == ('openvino', '', ['openvino'])


def test_with_a_gpu_tensorrt_runs(machine: Fakes) -> None:
    made = machine(gpu=True)
    engine = chosen(accuracy_check=False, precision='fp16', input_size=(96, 160))
    assert (engine.name, engine.note, made) == ('tensorrt', '', ['tensorrt'])
    assert engine.arguments['accuracy_check'] is False
    assert engine.arguments['precision'] == 'fp16'
    assert (engine.config.input_height, engine.config.input_width) == (96, 160)


def test_a_batch_on_tensorrt_has_an_engine_of_its_own(machine: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(gpu=True)
    asked = []
    monkeypatch.setattr(loading, 'batched', lambda single, size, load: asked.append((single, size, load())) or single)
    engine = chosen(engine='tensorrt', batch=4)
    ((single, size, several),) = asked
    assert engine is single and made == ['tensorrt', 'tensorrt']
    assert 'batch' not in single.arguments and several.arguments['batch'] == size == 4


def test_a_gpu_without_tensorrt_runs_torch_with_a_note(machine: Fakes) -> None:
    machine(gpu=True, tensorrt=False)
    engine = chosen()
    assert engine.name == 'torch'
    assert engine.note.startswith('tensorrt: found Fake GPU, but TensorRT is not installed')


@pytest.mark.parametrize('torch', [True, False])
def test_a_gpu_that_no_library_can_use_is_noted(machine: Fakes, torch: bool) -> None:
    made = machine(gpu=True, torch_cuda=False, torch=torch, faults={'tensorrt': 'driver too old'})
    engine = chosen()
    assert (engine.name, engine.note) == ('openvino', 'tensorrt: driver too old')
    assert made == ['tensorrt', 'openvino']


def test_the_reason_of_each_failure_is_noted(machine: Fakes) -> None:
    machine(gpu=True, faults={'tensorrt': 'out of memory', 'torch': 'out of memory too'})
    assert chosen().note == 'tensorrt: out of memory; torch: out of memory too'
    machine(gpu=True, faults=dict.fromkeys(('tensorrt', 'torch', 'openvino'), 'no'))
    with pytest.raises(ValueError, match=r'no engine runs here\. tensorrt: no; torch: no; openvino: no'):
        chosen()
    machine(faults={'openvino': 'no graph'})
    assert (chosen().name, chosen().note) == ('torch', 'openvino: no graph')


def test_the_requested_device_is_used(machine: Fakes) -> None:
    machine(gpu=True)
    assert chosen(device='cpu').name == 'openvino'
    machine(gpu=True, tensorrt=False)
    assert chosen(device='cuda:0').name == 'torch'
    machine(torch_cuda=False)
    with pytest.raises(ValueError, match=r'no engine runs here\. There is no GPU for the device cuda'):
        chosen(device='cuda')
    with pytest.raises(ValueError, match="OpenVINO runs on the CPU, not on device 'cuda'"):
        chosen(engine='openvino', device='cuda')
    with pytest.raises(ValueError, match="device 'gpu' is not auto, cpu, cuda or cuda:N"):
        chosen(device='gpu')


@pytest.mark.parametrize('name', ['tensorrt', 'openvino', 'torch'])
def test_a_named_engine_is_never_replaced(machine: Fakes, name: str) -> None:
    made = machine(gpu=True, faults={name: 'cannot'})
    with pytest.raises(RuntimeError, match='cannot'):
        chosen(engine=name)
    assert made == [name]


def test_unknown_names_are_rejected() -> None:
    with pytest.raises(ValueError, match=f"engine 'abacus' is not one of {', '.join(ENGINES)}"):
        load_engine('demo', engine='abacus')
    with pytest.raises(ValueError, match="precision 'half' is not one of auto, fp32, fp16, bf16, int8"):
        load_engine('demo', precision='half')


def test_errors_in_the_weights_are_raised_before_any_engine_is_tried(machine: Fakes) -> None:
    made = machine(gpu=True)
    with pytest.raises(FileNotFoundError, match='absent'):
        load_engine('absent.safetensors')
    with pytest.raises(ValueError, match='contains a masktrack_rcnn, not a feelvos'):
        chosen(model='feelvos')
    assert made == []


@pytest.mark.parametrize(
    'values',
    [{'max_detections': -1}, {'score_threshold': -0.1}, {'score_threshold': 1.5}, {'score_threshold': math.nan}],
)
def test_values_out_of_range_are_rejected(machine: Fakes, values: dict[str, Any]) -> None:
    made = machine()
    (name,) = values
    with pytest.raises(ValueError, match=f'{name} {next(iter(values.values()))} is'):
        load_engine('demo', **values)
    assert made == []


def test_real_engines_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, 'nvidia_gpus', lambda: ())
    assert isinstance(load_engine(path_of('demo'), threads=1), OpenVinoEngine)
    assert isinstance(load_engine(path_of('demo'), engine='torch', device='cpu'), TorchEngine)


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f'{name}: cannot open shared object file')

    monkeypatch.setattr(nvidia.ctypes, 'CDLL', absent)
    assert nvidia.nvidia_gpus.__wrapped__() == ()


def test_gpu_names_come_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """Two GPUs; the second one does not report its name."""

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 2
            return 0

        def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
            device._obj.value = 10 + number
            return 0

        def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:  # noqa: N802
            name.value = b'First GPU'
            return 0 if device.value == 10 else 999

    monkeypatch.setattr(nvidia.ctypes, 'CDLL', lambda name: Driver())
    assert nvidia.nvidia_gpus.__wrapped__() == ('First GPU', 'GPU 1')


def test_an_engine_that_fails_at_its_first_image_is_replaced(machine: Fakes) -> None:
    machine(first_run={'openvino': 'Exception from src/inference\nwith many lines'})
    engine = chosen(accuracy_check=False)
    assert (engine.name, engine.note) == ('torch', 'openvino: Exception from src/inference')
