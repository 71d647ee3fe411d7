"""TensorRtEngine: the network on an NVIDIA GPU, from a static graph that TensorRT has compiled for it. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import vis_ros
from vis_ros.engines.engine import EngineInfo, timed_warm_up
from vis_ros.engines.loading import network_config
from vis_ros.engines.tensorrt.accuracy_check import Infer, check_parity
from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.engines.tensorrt.cuda_resize import CudaResize, compile_resize
from vis_ros.engines.tensorrt.detector import Detector
from vis_ros.engines.tensorrt.engine_cache import EngineCache, EngineKey, Opened
from vis_ros.engines.tensorrt.library import Gpu, TensorRt, cuda_driver, cuda_runtime, find_gpu, find_tensorrt
from vis_ros.engines.tensorrt.session import TensorRtSession
from vis_ros.export.graph_file import find_graph, read_graph, sha256_of
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import count_parameters
from vis_ros.networks.named_weights import resolve


class TensorRtEngine:
    """An `Engine`. Arguments as in `vis_ros.engines.loading.load_engine`.

    The first use of weights on a GPU builds an engine, which takes seconds (TensorRT-RTX) to minutes (TensorRT on a
    Jetson) and is kept. Every image is fitted inside one canvas; the resize is done on the GPU, bit for bit that of the
    other engines (on the processor where NVRTC is missing), the rest of the preprocessing by the network.

    Raises, beside what load_engine says:
        OSError: the engine cannot be built, or the GPU fails or has too little memory.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        model: str = 'auto',
        device: str = 'auto',
        precision: str = 'auto',
        input_size: tuple[int, int] | None = None,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        batch: int = 1,
        accuracy_check: bool = True,
    ) -> None:
        gpu = find_gpu(device)
        library = find_tensorrt()
        path = resolve(weights)
        self.config = network_config(path, model, input_size, score_threshold, max_detections)
        self.class_names = self.config.class_names
        self.input_size = (self.config.input_height, self.config.input_width)
        wanted = 'fp16' if precision == 'auto' else precision
        graph = find_graph(path, self.config.architecture, 'gpu', wanted, self.input_size, batch)
        digest = read_graph(graph, path).weights_sha256
        resize, processor = _resize(gpu, self.config)
        opened = _open(library, gpu, graph, self._key(library, gpu, graph, digest, wanted, batch), resize)
        self._detector = Detector(opened.engine, self.config)
        parity = self._check_parity(path, digest) if accuracy_check else 'the parity check is turned off'
        realised = opened.engine.precision
        self._info = EngineInfo(
            engine=str(library),
            device=f'{gpu.name} (SM {gpu.capability[0]}.{gpu.capability[1]})',
            precision=opened.typed_precision if realised == 'unknown' else realised,
            model=self.config.name,
            parameters=count_parameters(path, self.config.architecture),
            input_size=self.input_size,
            note=_worded((opened.note, processor, opened.engine.note, _other_precision(wanted, realised), parity)),
        )

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in images, each (height, width, 3) uint8 BGR; sizes may differ. As many runs as batches are needed."""
        return self._detector.infer(images)

    def warm_up(self) -> float:
        """Run on an image of noise until the time settles; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        return replace(self._info, unconverged=self._detector.unconverged)

    def _key(self, library: TensorRt, gpu: Gpu, graph: Path, digest: str, precision: str, batch: int) -> EngineKey:
        return EngineKey(
            name=graph.stem.partition('.gpu')[0],
            graph_sha256=sha256_of(graph),
            weights_sha256=digest,
            library=str(library),
            gpu=gpu.name,
            capability=f'{gpu.capability[0]}.{gpu.capability[1]}',
            precision=precision,
            batch=batch,
            height=self.config.input_height,
            width=self.config.input_width,
        )

    def _check_parity(self, weights: Path, digest: str) -> str:
        """A note where the check has nothing to say; ValueError where this engine is not the network."""
        asked = hashlib.sha256(f'{vis_ros.__version__} {digest} {self.config.to_json()}'.encode()).hexdigest()[:16]
        stored = cache_folder() / 'parity' / f'{asked}.npz'
        reference = _openvino(weights, self.config)
        return check_parity(self.infer, reference, self.input_size, self.config.score_threshold, stored)


def cache_folder() -> Path:
    """Where engines are kept: $XDG_CACHE_HOME/vis_ros/tensorrt, or ~/.cache/vis_ros/tensorrt."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'vis_ros' / 'tensorrt'


def _resize(gpu: Gpu, config: ModelConfig) -> tuple[CudaResize | None, str]:
    """What resizes images on the GPU, where the network takes bytes; else None, and why."""
    if config.resize != 'uint8':
        return None, ''
    try:
        return CudaResize(cuda_runtime(), cuda_driver(), compile_resize(gpu.capability)), ''
    except ValueError as error:
        return None, f'images are resized on the processor: {error}'


def _open(
    library: TensorRt, gpu: Gpu, graph: Path, key: EngineKey, resize: CudaResize | None
) -> Opened[TensorRtSession]:
    """The session of a graph, its engine from the cache or built."""
    cache = EngineCache(cache_folder())
    compiled = (cache.folder / key.file_name).with_suffix('.compiled')
    target = BuildTarget(library.flavour, gpu.capability, gpu.number)
    cudart = cuda_runtime()
    return cache.open(
        key,
        build=lambda plan: build_plan(graph, plan, target),
        load=lambda plan: TensorRtSession(library, gpu, plan, cudart, compiled, resize),
    )


def _openvino(weights: Path, config: ModelConfig) -> Infer:
    """What the parity check compares with. Loaded only if it is called."""

    def infer(images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine

        engine = OpenVinoEngine(
            weights,
            model=config.architecture,
            precision='fp32',
            input_size=(config.input_height, config.input_width),
            score_threshold=config.score_threshold,
            max_detections=config.max_detections,
        )
        return engine.infer(images)

    return infer


def _other_precision(wanted: str, realised: str) -> str:
    if realised in (wanted, 'unknown'):
        return ''
    return f'{wanted} was asked for, but most layers of the engine compute in {realised}'


def _worded(notes: Sequence[str]) -> str:
    return '; '.join(note for note in notes if note)
