"""TensorRtEngine: runs an exported graph on an NVIDIA GPU, compiled for it by TensorRT. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.accuracy_check import Infer, check_accuracy, reference_file
from vis_ros.engines.engine import EngineInfo, join_notes, timed_warm_up
from vis_ros.engines.tensorrt.batch_detector import BatchDetector
from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.engines.tensorrt.cuda_resize import CudaResize, compile_resize
from vis_ros.engines.tensorrt.engine_cache import EngineCache, EngineKey, OpenedEngine
from vis_ros.engines.tensorrt.library import Gpu, TensorRt, cuda_driver, cuda_runtime, find_gpu, find_tensorrt
from vis_ros.engines.tensorrt.session import TensorRtSession
from vis_ros.export.find_graph import find_graph
from vis_ros.export.graph_file import read_graph, sha256_of
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import count_parameters
from vis_ros.user_cache import user_cache


class TensorRtEngine:
    """An `Engine` that runs a model on an NVIDIA GPU.

    The first time a model runs on a GPU, its TensorRT engine is built, which takes seconds (TensorRT-RTX) to minutes
    (TensorRT on a Jetson), and stored in the cache folder. All images are resized to fit into one input size. The
    resize runs on the GPU, with the same result as in the other engines to the bit, or on the CPU if NVRTC is missing.
    The rest of the preprocessing is part of the network.

    Args:
        path: the model file.
        config: the config in that file, with the values that the caller overrides.
        device: 'auto' or 'cuda' (the first GPU), or 'cuda:N'.
        precision: 'auto' (fp16), 'fp32', 'fp16', 'bf16' or 'int8'.
        batch: number of images that run at once.
        accuracy_check: compare the results with an fp32 reference before the engine is used.

    Raises:
        FileNotFoundError: there is no exported graph of the model, and it cannot be exported here.
        ValueError: there is no GPU or no TensorRT, an argument does not suit the graph, or the accuracy check failed.
        OSError: the engine cannot be built, or the GPU fails or has too little memory.
    """

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        *,
        device: str = 'auto',
        precision: str = 'auto',
        batch: int = 1,
        accuracy_check: bool = True,
    ) -> None:
        gpu = find_gpu(device)
        library = find_tensorrt()
        self.config = config
        self.class_names = config.class_names
        self.input_size = (config.input_height, config.input_width)
        self.score_threshold = config.score_threshold
        requested = 'fp16' if precision == 'auto' else precision
        graph = find_graph(path, config.architecture, 'gpu', requested, self.input_size, batch)
        digest = read_graph(graph, path).weights_sha256
        resize, resize_note = _make_resize(gpu, config)
        opened = _open(library, gpu, graph, self._key(library, gpu, graph, digest, requested, batch), resize)
        self._detector = BatchDetector(opened.engine, config)
        check_note = self._check_accuracy(path, digest) if accuracy_check else 'the accuracy check is turned off'
        actual = opened.engine.precision
        precision_note = _precision_note(requested, actual)
        self._info = EngineInfo(
            engine=str(library),
            device=f'{gpu.name} (SM {gpu.capability[0]}.{gpu.capability[1]})',
            precision=opened.graph_precision if actual == 'unknown' else actual,
            model=config.name,
            parameters=count_parameters(path, config.architecture),
            input_size=self.input_size,
            note=join_notes(opened.note, resize_note, opened.engine.note, precision_note, check_note),
        )

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in any number of images, each (height, width, 3) uint8 BGR. Sizes may differ."""
        return self._detector.infer(images)

    def warm_up(self) -> float:
        """Run a few times on an image of noise; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What actually runs: library, device and precision."""
        return replace(self._info, unconverged=self._detector.unconverged.count)

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

    def _check_accuracy(self, path: Path, digest: str) -> str:
        """A note if the check cannot decide; ValueError if the results differ too much from the reference."""
        stored = reference_file(digest, self.config)
        reference = _openvino_reference(path, self.config)
        return check_accuracy(self.infer, reference, self.input_size, self.config.score_threshold, stored)


def cache_folder() -> Path:
    """Where engines are stored: ~/.cache/vis_ros/tensorrt, or below $XDG_CACHE_HOME."""
    return user_cache('tensorrt')


def _make_resize(gpu: Gpu, config: ModelConfig) -> tuple[CudaResize | None, str]:
    """The resize on the GPU, or None and a note that says why images are resized on the CPU."""
    if config.resize != 'uint8':
        return None, ''
    try:
        return CudaResize(cuda_runtime(), cuda_driver(), compile_resize(gpu.capability)), ''
    except ValueError as error:
        return None, f'images are resized on the CPU: {error}'


def _open(
    library: TensorRt, gpu: Gpu, graph: Path, key: EngineKey, resize: CudaResize | None
) -> OpenedEngine[TensorRtSession]:
    """A session with the engine of a graph, which is loaded from the cache or built."""
    cache = EngineCache(cache_folder())
    compiled = (cache.folder / key.file_name).with_suffix('.compiled')
    target = BuildTarget(library.flavour, gpu.capability, gpu.number)
    cudart = cuda_runtime()
    return cache.open(
        key,
        build=lambda plan: build_plan(graph, plan, target),
        load=lambda plan: TensorRtSession(library, gpu, plan, cudart, compiled, resize),
    )


def _openvino_reference(path: Path, config: ModelConfig) -> Infer:
    """The fp32 reference for the accuracy check. OpenVINO is only loaded if the reference is called."""

    def infer(images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(path, config, precision='fp32').infer(images)

    return infer


def _precision_note(requested: str, actual: str) -> str:
    if actual in (requested, 'unknown'):
        return ''
    return f'{requested} was requested, but most layers of the engine compute in {actual}'
