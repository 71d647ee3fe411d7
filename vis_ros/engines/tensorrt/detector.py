"""Detector: images through the buffers of a `TensorRtSession`, batch by batch, and `Instances` out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.postprocessing import to_instances
from vis_ros.engines.tensorrt.session import TensorRtSession
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.preprocessing import check_image, fit, fitted_scale, fitted_size

_log = logging.getLogger(__name__)


class Detector:
    """Images to `Instances` through a session, whose buffers it knows by their names.

    Raises:
        ValueError: the session's graph cannot serve the config.
    """

    def __init__(self, session: TensorRtSession, config: ModelConfig) -> None:
        self._session = session
        self._config = config
        self._canvas = (config.input_height, config.input_width)
        self.unconverged = 0
        """Images for which a suppression did not come to its end: they may have an object too many or too few."""
        rows = session.outputs['scores'].shape[1]
        if config.max_detections > rows:
            raise ValueError(
                f'max_detections is {config.max_detections}, but the graph gives {rows} an image: make the model file '
                'with a larger max_detections, or use engine openvino'
            )

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in images, each (height, width, 3) uint8 BGR; sizes may differ."""
        for image in images:
            check_image(image)
        batch = len(self._session.inputs['images'])
        found: list[Instances] = []
        for start in range(0, len(images), batch):
            found += self._infer_batch(images[start : start + batch])
        return found

    def _infer_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        inputs, outputs = self._session.inputs, self._session.outputs
        inputs['sizes'][:] = self._canvas  # of slots without an image, whose outputs nobody reads
        inputs['scales'][:] = 1
        for slot, image in enumerate(images):
            inputs['sizes'][slot] = self._fit(image, slot)
            inputs['scales'][slot] = self._scale(image)
        inputs['score_threshold'][:] = self._config.score_threshold
        self._session.run()
        self._watch_settled(outputs['settled'][: len(images)])
        return [self._instances(slot, self._scale(image), image.shape[:2]) for slot, image in enumerate(images)]

    def _fit(self, image: NDArray[np.uint8], slot: int) -> tuple[int, int]:
        """Put an image into the input of the network, on the GPU where it can; returns its (height, width) there."""
        size = fitted_size(image.shape[:2], self._config, self._canvas)
        if self._session.resize is None:
            fit(image, self._config, self._canvas, out=self._session.inputs['images'][slot])
        else:
            self._session.resize.enqueue(image, slot, size)
        return size

    def _scale(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        return fitted_scale(image.shape[:2], self._config, self._canvas)

    def _instances(self, slot: int, scale: tuple[float, float], image_size: tuple[int, int]) -> Instances:
        scores = self._session.outputs['scores'][slot]
        rows = np.flatnonzero(scores > self._config.score_threshold)[: self._config.max_detections]
        boxes, scores, labels, masks, embeddings = (
            self._session.outputs[name][slot][rows]  # a copy: the next run writes over the buffers
            for name in ('boxes', 'scores', 'labels', 'masks', 'embeddings')
        )
        return to_instances(boxes, scores, labels, masks, embeddings, scale, image_size, self._config)

    def _watch_settled(self, settled: NDArray[np.bool_]) -> None:
        unconverged = int(np.sum(~settled))
        if unconverged and not self.unconverged:
            _log.warning(
                'in an image so many boxes overlap in chains that their suppression did not come to its end: there may '
                'be an object too many or too few. Said once; diagnostics count such images'
            )
        self.unconverged += unconverged
