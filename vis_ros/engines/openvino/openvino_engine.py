"""OpenVinoEngine: the network on a processor, from the exported graph. No torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vis_ros.engines.engine import EngineInfo, timed_warm_up
from vis_ros.engines.loading import network_config
from vis_ros.engines.openvino.compiled_network import OpenVinoNetwork
from vis_ros.engines.postprocessing import to_instances
from vis_ros.export.graph_file import find_graph, read_metadata
from vis_ros.instances import Instances
from vis_ros.networks.model_header import count_parameters
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import check_image, fit, fitted_size, padded

_log = logging.getLogger(__name__)


class OpenVinoEngine:
    """An `Engine`. Arguments as in `vis_ros.engines.loading.load_engine`.

    Images run one after another: on a processor a batch is not faster than its images alone. The first image of a new
    padded size takes seconds longer, until the network is compiled for it.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        model: str = 'auto',
        precision: str = 'auto',
        input_size: tuple[int, int] | None = None,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        threads: int = 0,
        note: str = '',
    ) -> None:
        path = resolve(weights)
        self.config = network_config(path, model, input_size, score_threshold, max_detections)
        self.class_names = self.config.class_names
        self.input_size = (self.config.input_height, self.config.input_width)
        self.unconverged = 0
        """Images for which a suppression did not come to its end: they may have an object too many or too few."""
        quantized = precision == 'int8'
        graph = find_graph(path, self.config.architecture, 'cpu', 'int8' if quantized else None)
        digest = read_metadata(graph).weights_sha256
        self._network = OpenVinoNetwork(graph, digest, 'fp32' if quantized else precision, threads)
        self._parameters = count_parameters(path, self.config.architecture)
        self._note = note

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in images, each (height, width, 3) uint8 BGR; sizes may differ."""
        for image in images:
            check_image(image)
        return [self._infer_one(image) for image in images]

    def _infer_one(self, image: NDArray[np.uint8]) -> Instances:
        size = (image.shape[0], image.shape[1])
        canvas = self._network.canvas(padded(fitted_size(size, self.config)))
        fitted = fit(image, self.config, out=canvas.image)
        height, width = fitted.image.shape[:2]
        found = canvas.run((height, width), fitted.scale, self.config.score_threshold, self.config.max_detections)
        if not found.settled:
            self._count_unsettled()
        return to_instances(
            found.boxes, found.scores, found.labels, found.masks, found.embeddings, fitted.scale, size, self.config
        )

    def _count_unsettled(self) -> None:
        self.unconverged += 1
        if self.unconverged == 1:
            _log.warning(
                'in an image so many boxes overlap in chains that their suppression did not come to its end: there may '
                'be an object too many or too few. Said once; diagnostics count such images'
            )

    def warm_up(self) -> float:
        """Run on an image of noise until the time settles; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        precision, threads = self._realised
        return EngineInfo(
            engine=f'OpenVINO {ov.__version__.split("-")[0]}',
            device=f'cpu ({threads} threads)',
            precision=precision,
            model=self.config.name,
            parameters=self._parameters,
            input_size=self.input_size,
            note='; '.join(filter(None, (self._note, self._network.cache.fault))),
            unconverged=self.unconverged,
        )

    @cached_property
    def _realised(self) -> tuple[str, int]:
        return self._network.realised(padded(fitted_size(self.input_size, self.config)))
