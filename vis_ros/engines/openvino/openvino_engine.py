"""OpenVinoEngine: runs the exported graph of a model on the CPU. Needs no torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vis_ros.engines.engine import EngineInfo, join_notes, timed_warm_up
from vis_ros.engines.openvino.compiled_networks import CompiledNetwork, CompiledNetworks
from vis_ros.engines.postprocessing import postprocess
from vis_ros.engines.unconverged_images import UnconvergedImages
from vis_ros.export.find_graph import find_graph
from vis_ros.export.graph_file import read_metadata
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import count_parameters
from vis_ros.networks.preprocessing import check_image, fit, fitted_size, padded


class OpenVinoEngine:
    """An `Engine` that runs a model on the CPU.

    The images of a batch run one after another, since on a CPU a batch is no faster than its images are alone. The
    first image of a new padded size takes seconds longer, because the network is compiled for each size.

    Args:
        path: the model file.
        config: the config in that file, with the values that the caller overrides.
        precision: 'auto' (bf16 if the processor supports it, else fp32), 'fp32', 'bf16' or 'int8'.
        threads: number of CPU threads; 0 leaves the choice to OpenVINO.
        note: first part of `EngineInfo.note`.

    Raises:
        FileNotFoundError: there is no exported graph of the model, and it cannot be exported here.
        ValueError: the processor or the graph does not support the precision.
    """

    batch = 1

    def __init__(
        self, path: Path, config: ModelConfig, *, precision: str = 'auto', threads: int = 0, note: str = ''
    ) -> None:
        self.config = config
        self.class_names = config.class_names
        self.input_size = (config.input_height, config.input_width)
        self.score_threshold = config.score_threshold
        is_int8 = precision == 'int8'
        graph = find_graph(path, config.architecture, 'cpu', 'int8' if is_int8 else None)
        digest = read_metadata(graph).weights_sha256
        self._networks = CompiledNetworks(graph, digest, 'fp32' if is_int8 else precision, threads)
        self._parameters = count_parameters(path, config.architecture)
        self._unconverged = UnconvergedImages()
        self._lock = threading.Lock()
        self._note = note

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in images, each (height, width, 3) uint8 BGR. Sizes may differ."""
        for image in images:
            check_image(image)
        with self._lock:
            return [self._infer_one(image) for image in images]

    def _infer_one(self, image: NDArray[np.uint8]) -> Instances:
        size = (image.shape[0], image.shape[1])
        network = self._network_for(size)
        fitted = fit(image, self.config, out=network.image)
        height, width = fitted.image.shape[:2]
        outputs = network.run((height, width), fitted.scale, self.config.score_threshold, self.config.max_detections)
        self._unconverged.add(not outputs.converged)
        return postprocess(outputs, fitted.scale, size, self.config)

    def compile_in_background(self) -> None:
        """See `BackgroundCompiler`."""
        self._networks.by_size.in_background = True

    def warm_up(self) -> float:
        """Run on an image of noise until the network is compiled; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What actually runs: library, device and precision."""
        precision, threads = self._precision_and_threads
        return EngineInfo(
            engine=f'OpenVINO {ov.__version__.split("-")[0]}',
            device=f'cpu ({threads} threads)',
            precision=precision,
            model=self.config.name,
            parameters=self._parameters,
            input_size=self.input_size,
            note=join_notes(self._note, self._networks.cache.error),
            unconverged=self._unconverged.count,
        )

    @cached_property
    def _precision_and_threads(self) -> tuple[str, int]:
        """Read once, so that `describe` neither compiles again nor interferes with `infer` in another thread."""
        network = self._network_for(self.input_size)
        return network.precision, network.threads

    def _network_for(self, image_size: tuple[int, int]) -> CompiledNetwork:
        return self._networks.by_size.of_size(padded(fitted_size(image_size, self.config)))
