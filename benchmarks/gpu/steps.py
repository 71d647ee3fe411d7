"""The steps of `benchmarks.gpu`. Each runs in a process of its own and returns rows of a table.

python -m benchmarks.gpu.steps STEP WEIGHTS
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.roofline import least_ms
from benchmarks.gpu.timing import milliseconds, p50_p95
from vis_ros.engines.accuracy_check import count_matches
from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine, network_config
from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.synthetic.scene import Scene

Rows = dict[str, Any]

SHAPES = {'16:9': (720, 1280), '4:3': (480, 640), '1:1': (640, 640), '3:4': (640, 480), '9:16': (1280, 720)}
"""Name -> (height, width) of the images whose detections are compared."""

_IMAGE_SIZES = ((480, 640), (720, 1280), (1080, 1920))
_CONFIDENT, _MIN_IOU = 0.3, 0.9
_RUNS = 100


def machine(_weights: str) -> Rows:
    """GPU, driver and libraries."""
    import torch

    from vis_ros.engines.nvidia import nvidia_gpus
    from vis_ros.engines.tensorrt.library import find_tensorrt

    rows: Rows = {
        'GPU': ', '.join(nvidia_gpus()),
        'Python': platform.python_version(),
        'torch': f'{torch.__version__}, CUDA {torch.version.cuda}',
    }
    try:
        rows['TensorRT'] = str(find_tensorrt())
    except ValueError as error:
        rows['TensorRT'] = str(error)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        rows['compute capability'] = f'{properties.major}.{properties.minor}'
        rows['memory [GiB]'] = round(properties.total_memory / 2**30, 1)
    return rows


def torch_times(weights: str) -> Rows:
    """The torch engine: eager, as a CUDA graph, and its accuracy against fp32 on the CPU."""
    from vis_ros.engines.torch.torch_engine import TorchEngine

    rows: Rows = {}
    frames = _frames((720, 1280), 8)
    path = resolve(weights)
    config = network_config(path, score_threshold=_CONFIDENT / 2)
    reference = _reference(weights)
    for precision in ('fp32', 'fp16'):
        engine = TorchEngine(path, config, device='cuda', precision=precision)
        engine.warm_up()
        rows[f'{precision}, CUDA graph, p50, p95 [ms]'] = p50_p95(milliseconds(lambda: engine.infer(frames[:1]), _RUNS))  # noqa: B023
        rows[f'{precision}, CUDA graph, matched'] = _matched(engine, reference, frames)
        rows[f'{precision}, notes'] = engine.describe().note or 'none'
        engine._graphs = None
        rows[f'{precision}, eager, p50, p95 [ms]'] = p50_p95(milliseconds(lambda: engine.infer(frames[:1]), _RUNS))  # noqa: B023
    return rows


def torch_compiled(weights: str) -> Rows:
    """The static network of the torch engine through torch.compile, without resize and masks in the image."""
    import torch

    from vis_ros.export.graph_export import example_inputs
    from vis_ros.export.static_detector import StaticDetector
    from vis_ros.networks.model_file import load_model

    network = load_model(resolve(weights), 'auto')
    size = (network.config.input_height, network.config.input_width)
    detector = StaticDetector(network, 'gpu', torch.float16).eval().cuda()
    inputs = {name: value.cuda() for name, value in example_inputs(detector, size, 1).items()}

    def run(function: Callable[..., Any]) -> NDArray[np.float64]:
        def once() -> None:
            function(**inputs)
            torch.cuda.synchronize()

        with torch.inference_mode():
            return milliseconds(once, _RUNS)

    return {
        'fp16, eager, p50, p95 [ms]': p50_p95(run(detector)),
        'fp16, torch.compile, p50, p95 [ms]': p50_p95(run(torch.compile(detector))),
    }


def tensorrt_accuracy(weights: str) -> Rows:
    """Detections of TensorRT that match those of OpenVINO in fp32, for cameras of five shapes."""
    rows: Rows = {}
    reference = _reference(weights)
    for precision in ('fp16', 'fp32'):
        engine = _tensorrt(weights, precision)
        for name, size in SHAPES.items():
            rows[f'{precision}, {name}, matched'] = _matched(engine, reference, _frames(size, 8))
        info = engine.describe()
        rows[f'{precision}, realized precision'] = info.precision
        rows[f'{precision}, notes'] = info.note or 'none'
    return rows


def tensorrt_times(weights: str) -> Rows:
    """TensorRT in fp16: milliseconds of a batch from images of three sizes, of the network alone, and the roofline."""
    rows: Rows = {}
    for batch in (1, 4, 8):
        with _memory(rows, f'batch {batch}'):
            engine = _tensorrt(weights, 'fp16', batch)
            for size in _IMAGE_SIZES:
                images = _frames(size, batch)
                times = milliseconds(lambda: engine.infer(images), _RUNS)  # noqa: B023
                rows[f'batch {batch}, from {size[1]}x{size[0]}, p50, p95 [ms]'] = p50_p95(times)
            launch = milliseconds(engine._main._session.run, _RUNS)
            rows[f'batch {batch}, copies and network, p50, p95 [ms]'] = p50_p95(launch)
            least = least_ms(weights, engine.config, 'fp16', batch, engine.input_size)
            rows |= {f'batch {batch}, {name}': value for name, value in least.items()}
            rows[f'batch {batch}, share of the roofline'] = round(
                least['minimum time [ms]'] / float(np.median(launch)), 3
            )
            rows[f'batch {batch}, notes'] = engine.describe().note or 'none'
    return rows


def propagation(_weights: str) -> Rows:
    """Milliseconds a frame of each propagation system, with one object, at the working size 512x288."""
    rows: Rows = {}
    scene = Scene(3, (288, 512), frames=60)
    for system in PROPAGATION_SYSTEMS:
        try:
            model = load_propagation_model(system, device='cuda')
        except FileNotFoundError:  # no packaged weights
            continue
        propagator = model.new()
        first = scene.frame(10)
        propagator.start(1, first.image, max(first.masks, key=np.count_nonzero))
        images = iter([scene.frame(11 + index % 45).image for index in range(60)])
        rows[f'{system}, p50, p95 [ms]'] = p50_p95(milliseconds(lambda: propagator.step(next(images)), 40))  # noqa: B023
    return rows


def node(weights: str) -> Rows:
    """A node with TensorRT over DDS: from image to reply, and the highest rate."""
    from benchmarks.speed.node_run import run_node
    from benchmarks.speed.speed_settings import SpeedSettings
    from benchmarks.speed.workspace import workspace
    from vis_ros.ros.isolation import isolate

    isolate()
    with workspace() as place:
        result = run_node(SpeedSettings(weights=weights, engine='tensorrt', frames=60), place, None, rates_hz=(30.0,))
    return {'engine': str(result['engine']), 'highest rate [Hz]': result['highest_rate_hz'], 'trials': result['trials']}


STEPS: dict[str, Callable[[str], Rows]] = {
    'machine': machine,
    'torch': torch_times,
    'torch_compile': torch_compiled,
    'tensorrt_accuracy': tensorrt_accuracy,
    'tensorrt_times': tensorrt_times,
    'propagation': propagation,
    'node': node,
}
"""In the order in which they run: what needs least comes first."""

NEED_NO_GPU = ('machine',)


def _tensorrt(weights: str, precision: str, batch: int = 1) -> Any:
    from vis_ros.engines.tensorrt.tensorrt_engine import TensorRtEngine

    path = resolve(weights)
    config = network_config(path, score_threshold=_CONFIDENT / 2)
    engine = TensorRtEngine(path, config, precision=precision, batch=batch, accuracy_check=False)
    engine.warm_up()
    return engine


def _reference(weights: str) -> Engine:
    return load_engine(weights, engine='openvino', precision='fp32', score_threshold=_CONFIDENT / 2)


def _matched(engine: Engine, reference: Engine, frames: list[NDArray[np.uint8]]) -> str:
    """Confident detections of both engines that match one of the other engine."""
    total, matched = count_matches(engine.infer(frames), reference.infer(frames), _CONFIDENT, _MIN_IOU)
    return f'{matched} of {total} = {matched / max(total, 1):.1%}'


def _frames(size: tuple[int, int], count: int) -> list[NDArray[np.uint8]]:
    return [Scene(seed, size).frame(200).image for seed in range(100, 100 + count)]


@contextmanager
def _memory(rows: Rows, name: str) -> Iterator[None]:
    """Note the GPU memory that is in use after the block and was not before it."""
    import torch

    before = torch.cuda.mem_get_info()[0]
    yield
    rows[f'{name}, memory [MiB]'] = round((before - torch.cuda.mem_get_info()[0]) / 2**20)


if __name__ == '__main__':
    print(json.dumps(STEPS[sys.argv[1]](sys.argv[2])))
