"""TensorRtEngine: runs an exported graph on an NVIDIA GPU, compiled for it by TensorRT. Needs no torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.accuracy_check import Infer, check_accuracy, comparison_threshold, reference_file
from vis_ros.engines.by_size import BySize, Size
from vis_ros.engines.engine import CompilingError, EngineInfo, join_notes, timed_warm_up
from vis_ros.engines.tensorrt.batch_detector import BatchDetector
from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.engines.tensorrt.cuda_resize import CudaResize, compile_resize
from vis_ros.engines.tensorrt.engine_cache import EngineCache, EngineKey, OpenedEngine
from vis_ros.engines.tensorrt.library import Gpu, TensorRt, cuda_driver, cuda_runtime, find_gpu, find_tensorrt
from vis_ros.engines.tensorrt.session import TensorRtSession
from vis_ros.export.find_graph import find_graph
from vis_ros.export.graph_file import read_graph
from vis_ros.file_digest import sha256_of
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import count_parameters
from vis_ros.networks.preprocessing import check_image, fitted_size, padded
from vis_ros.user_cache import user_cache

_log = logging.getLogger(__name__)


class TensorRtEngine:
    """An `Engine` that runs a model on an NVIDIA GPU.

    The first time a model runs on a GPU, its TensorRT engine is built, which takes seconds (TensorRT-RTX) to minutes
    (TensorRT on a Jetson), and stored in the cache folder. Images of another aspect ratio have an engine of their own,
    because more padding would change the results. If there is no graph for it, `describe` says so, and they are padded
    to the model's own input size. The resize runs on the GPU, with the same result as in the other engines to the bit,
    or on the CPU if NVRTC is missing. The rest of the preprocessing is part of the network.

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
        self._path = path
        self._gpu, self._library = gpu, library
        self._requested = 'fp16' if precision == 'auto' else precision
        self.batch = batch
        self._has_accuracy_check = accuracy_check
        self._missing: list[str] = []
        self._digest = sha256_of(path)
        self._main, opened, notes = self._open(self.input_size)
        self._by_size = BySize(self._detector)
        self._lock = threading.Lock()
        actual = opened.engine.precision
        self._info = EngineInfo(
            engine=str(library),
            device=f'{gpu.name} (SM {gpu.capability[0]}.{gpu.capability[1]})',
            precision=opened.graph_precision if actual == 'unknown' else actual,
            model=config.name,
            parameters=count_parameters(path, config.architecture),
            input_size=self.input_size,
            note=join_notes(notes, _precision_note(self._requested, actual)),
        )

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in any number of images, each (height, width, 3) uint8 BGR. Sizes may differ.

        Only images of the same padded size share a run: with more padding, an image would get other features at its
        border than it gets alone.
        """
        for image in images:
            check_image(image)
        with self._lock:
            return self._infer(images)

    def _infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        found: dict[int, Instances] = {}
        groups: dict[BatchDetector, list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self._detector_for(image), []).append(index)
        for detector, members in groups.items():
            found.update(zip(members, detector.infer([images[index] for index in members]), strict=True))
        return [found[index] for index in range(len(images))]

    def compile_in_background(self) -> None:
        """See `BackgroundCompiler`. The network for the model's own input size takes the images meanwhile."""
        self._by_size.in_background = True

    def _detector_for(self, image: NDArray[np.uint8]) -> BatchDetector:
        try:
            return self._by_size.of_size(padded(fitted_size(image.shape[:2], self.config)))
        except CompilingError:
            return self._main

    def _detector(self, size: Size) -> BatchDetector:
        """The detector for a padded size; the one for the model's own input size if there can be no other."""
        if size == padded(self.input_size):
            return self._main
        try:
            detector, _, _ = self._open(size)
            return detector
        except (ValueError, OSError) as error:
            note = (
                f'images that are {size[1]}x{size[0]} after the resize are padded to '
                f'{self.input_size[1]}x{self.input_size[0]}, which changes results ({error})'
            )
            _log.warning('%s', note)
            self._missing.append(note)
            return self._main

    def _open(self, size: Size) -> tuple[BatchDetector, OpenedEngine[TensorRtSession], str]:
        """The detector for an input size, its engine, and a note on what is not as it should be."""
        graph = find_graph(self._path, self.config.architecture, 'gpu', self._requested, size, self.batch)
        read_graph(graph, self._path)
        resize, resize_note = _make_resize(self._gpu, self.config)
        opened = _open(self._library, self._gpu, graph, self._key(graph, size), resize)
        detector = BatchDetector(opened.engine, self.config, size)
        check = self._check_accuracy(detector, size) if self._has_accuracy_check else 'the accuracy check is turned off'
        return detector, opened, join_notes(opened.note, resize_note, opened.engine.note, check)

    def warm_up(self) -> float:
        """Run a few times on an image of noise; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What actually runs: library, device and precision."""
        detectors = {self._main, *self._by_size.items()}
        return replace(
            self._info,
            note=join_notes(self._info.note, *self._missing),
            unconverged=sum(each.unconverged.count for each in detectors),
        )

    def _key(self, graph: Path, size: Size) -> EngineKey:
        return EngineKey(
            name=graph.stem.partition('.gpu')[0],
            graph_sha256=sha256_of(graph),
            weights_sha256=self._digest,
            library=str(self._library),
            gpu=self._gpu.name,
            capability=f'{self._gpu.capability[0]}.{self._gpu.capability[1]}',
            precision=self._requested,
            batch=self.batch,
            height=size[0],
            width=size[1],
        )

    def _check_accuracy(self, detector: BatchDetector, size: Size) -> str:
        """A note if the check cannot decide; ValueError if the results differ too much from the reference.

        The frames are twice as large as the input, so that the resize is checked too.
        """
        frame_size = (2 * size[0], 2 * size[1])
        stored = reference_file(self._digest, self.config, frame_size)
        reference = _openvino_reference(self._path, self.config)
        threshold = comparison_threshold(self._path, self.config)
        return check_accuracy(detector.infer, reference, frame_size, threshold, stored)


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
