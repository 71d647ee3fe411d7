"""BatchDetector: detects objects in images with a `TensorRtSession`, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.engines.postprocessing import postprocess
from vis_ros.engines.tensorrt.session import TensorRtSession
from vis_ros.engines.unconverged_images import UnconvergedImages
from vis_ros.export.graph_file import CONVERGED_OUTPUT
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.preprocessing import check_image, fit, fitted_scale, fitted_size


class BatchDetector:
    """Fills the input buffers of a session, runs it, and turns its output buffers into `Instances`.

    Args:
        session: with a network of fixed input size.
        config: of the model.
        input_size: (height, width) of that input; the model's own by default. Images that are larger after the resize
            of the model are resized to fit into it.

    Raises:
        ValueError: the graph in the session returns fewer detections than the config asks for.
    """

    def __init__(
        self, session: TensorRtSession, config: ModelConfig, input_size: tuple[int, int] | None = None
    ) -> None:
        self._session = session
        self._config = config
        self._input_size = input_size or (config.input_height, config.input_width)
        self.unconverged = UnconvergedImages()
        rows = session.outputs['scores'].shape[1]
        if config.max_detections > rows:
            raise ValueError(
                f'max_detections is {config.max_detections}, but the graph returns {rows} detections per image: set a '
                'larger max_detections in the model file and export it again, or use engine openvino'
            )

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in images, each (height, width, 3) uint8 BGR. Sizes may differ."""
        for image in images:
            check_image(image)
        batch = len(self._session.inputs['images'])
        found: list[Instances] = []
        for start in range(0, len(images), batch):
            found += self._infer_batch(images[start : start + batch])
        return found

    def _infer_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        try:
            self._run(images)
        except (OSError, ValueError):
            self._session.recover()
            raise
        outputs = self._session.outputs
        self.unconverged.add(int(np.sum(~outputs[CONVERGED_OUTPUT][: len(images)])))
        return [
            postprocess(self._outputs(slot), self._scale(image), image.shape[:2], self._config)
            for slot, image in enumerate(images)
        ]

    def _run(self, images: Sequence[NDArray[np.uint8]]) -> None:
        inputs = self._session.inputs
        inputs['sizes'][:] = self._input_size  # also for slots without an image, whose outputs are ignored
        inputs['scales'][:] = 1
        for slot, image in enumerate(images):
            inputs['sizes'][slot] = self._fit(image, slot)
            inputs['scales'][slot] = self._scale(image)
        inputs['score_threshold'][:] = self._config.score_threshold
        self._session.run()

    def _fit(self, image: NDArray[np.uint8], slot: int) -> tuple[int, int]:
        """Resize an image into a slot of the network's input, on the GPU if possible; returns its (height, width)."""
        limit = self._limit(image)
        size = fitted_size(image.shape[:2], self._config, limit)
        if self._session.resize is None:
            fit(image, self._config, limit, out=self._session.inputs['images'][slot])
        else:
            self._session.resize.enqueue(image, slot, size)
        return size

    def _scale(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        return fitted_scale(image.shape[:2], self._config, self._limit(image))

    def _limit(self, image: NDArray[np.uint8]) -> tuple[int, int] | None:
        """The size to fit an image into; None for that of the model, if the result fits into the network's input."""
        height, width = fitted_size(image.shape[:2], self._config)
        return None if height <= self._input_size[0] and width <= self._input_size[1] else self._input_size

    def _outputs(self, slot: int) -> NetworkOutputs:
        scores = self._session.outputs['scores'][slot]
        rows = np.flatnonzero(scores > self._config.score_threshold)[: self._config.max_detections]
        boxes, scores, labels, masks, embeddings = (
            self._session.outputs[name][slot][rows]  # a copy, since the next run overwrites the buffers
            for name in ('boxes', 'scores', 'labels', 'masks', 'embeddings')
        )
        return NetworkOutputs(boxes, scores, labels, masks, embeddings)
