"""TorchEngine: runs the network in PyTorch, on a CPU or a CUDA GPU. It is the reference for the other engines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.engines.engine import DeviceLostError, EngineInfo, join_notes, timed_warm_up
from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.engines.postprocessing import postprocess
from vis_ros.engines.torch.cuda_graphs import CudaGraphs
from vis_ros.instances import Instances
from vis_ros.networks.backbone import fold_batch_norm, noise_images
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import load_model
from vis_ros.networks.preprocessing import check_image, fit, fitted_size, padded

_log = logging.getLogger(__name__)

_PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class TorchEngine:
    """An `Engine` that runs a model in PyTorch.

    On a GPU, the static form of the network is captured as a CUDA graph for each image size and replayed. The network
    itself runs on a CPU, if a graph cannot be captured, and for images for which non-maximum suppression did not
    converge in the static form.

    Args:
        path: the model file.
        config: the config in that file, with the values that the caller overrides.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
        precision: 'auto', 'fp32', 'fp16' or 'bf16'; on a CPU only fp32.
        threads: number of CPU threads of this process; 0 leaves them as they are.
        note: first part of `EngineInfo.note`.

    Raises:
        ValueError: torch does not find that device, or does not run in that precision.
    """

    batch = 1
    _graphs: CudaGraphs | None

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        *,
        device: str = 'auto',
        precision: str = 'auto',
        threads: int = 0,
        note: str = '',
    ) -> None:
        if threads > 0:
            torch.set_num_threads(threads)
        self.device = _choose_device(device)
        self.precision = _choose_precision(precision, self.device)
        self._note = note
        network = load_model(path, config.architecture)
        network.config = config
        fold_batch_norm(network.backbone.body, noise_images())
        self._use(network.to(self.device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        # The static RoIAlign takes a fixed number of samples per bin; 0 means a number that depends on the RoI.
        if self.device.type == 'cuda' and config.roi_align_samples:
            self._graphs = CudaGraphs(network, _PRECISIONS[self.precision], self.device)

    @classmethod
    def of_network(cls, network: MaskRCNN) -> TorchEngine:
        """An engine for a network in memory, which is not changed (for validation during training)."""
        engine = cls.__new__(cls)
        engine.device = next(network.parameters()).device
        engine.precision = 'fp32'
        engine._note = ''
        engine._use(network)
        return engine

    def _use(self, network: MaskRCNN) -> None:
        self._graphs = None
        self._lock = threading.Lock()
        self.network = network
        self.config = network.config
        self.class_names = self.config.class_names
        self.input_size = (self.config.input_height, self.config.input_width)
        self.score_threshold = self.config.score_threshold

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in images, each (height, width, 3) uint8 BGR. Sizes may differ."""
        for image in images:
            check_image(image)
        try:
            with self._lock:
                return self._infer(images)
        except RuntimeError as error:
            self._raise_if_lost(error)
            raise

    def _raise_if_lost(self, error: RuntimeError) -> None:
        """DeviceLostError if the GPU reports an error again: then only a new process can use it."""
        if self.device.type == 'cuda':
            try:
                torch.cuda.synchronize(self.device)
            except RuntimeError:
                reason = str(error).strip().splitlines()[0]
                raise DeviceLostError(
                    f'the GPU has failed ({reason}) and is lost to this process: restart it'
                ) from error

    def _infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        with torch.inference_mode():
            if self._graphs is None:
                return self._infer_eagerly(images)
            replayed = [self._replay(image) for image in images]
            return [
                self._infer_eagerly([image])[0] if found is None else found
                for image, found in zip(images, replayed, strict=True)
            ]

    def _replay(self, image: NDArray[np.uint8]) -> Instances | None:
        """The result of the CUDA graph; None if there is no graph, or its result may not be exact."""
        if self._graphs is None:
            return None
        size = (image.shape[0], image.shape[1])
        try:
            graph = self._graphs.of_size(padded(fitted_size(size, self.config)))
        except RuntimeError as error:
            self._graphs = None
            reason = f'torch runs without a CUDA graph: {str(error).strip().splitlines()[0]}'
            _log.warning(reason)
            self._note = join_notes(self._note, reason)
            return None
        fitted = fit(image, self.config, out=graph.image)
        height, width = fitted.image.shape[:2]
        outputs = graph.run((height, width), fitted.scale, self.config.score_threshold)
        return postprocess(outputs, fitted.scale, size, self.config) if outputs.converged else None

    def _infer_eagerly(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in a batch of images, without a CUDA graph.

        Only images of the same padded size share a run of the network: with more padding, an image would get other
        features at its border than it gets alone.
        """
        found: dict[int, Instances] = {}
        inputs = [preprocess(image, self.config) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (tensor, _) in enumerate(inputs):
            groups.setdefault(padded((tensor.shape[1], tensor.shape[2])), []).append(index)
        for size, members in groups.items():
            results = self._infer_group([images[i] for i in members], [inputs[i] for i in members], size)
            found.update(zip(members, results, strict=True))
        return [found[index] for index in range(len(images))]

    def _infer_group(
        self,
        images: list[NDArray[np.uint8]],
        inputs: list[tuple[Tensor, tuple[float, float]]],
        padded_size: tuple[int, int],
    ) -> list[Instances]:
        batch, sizes = _pad([tensor for tensor, _ in inputs], padded_size)
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        scales = [scale for _, scale in inputs]
        is_low = self.precision != 'fp32'
        with torch.autocast(self.device.type, _PRECISIONS[self.precision] if is_low else None, enabled=is_low):
            detections, masks, embeddings = self.network(batch, sizes, scales)
        counts = [len(found.boxes) for found in detections]
        outputs = [
            NetworkOutputs(
                found.boxes.cpu().numpy(),
                found.scores.cpu().numpy(),
                found.labels.cpu().numpy(),
                mask.numpy(),
                embedding.numpy(),
            )
            for found, mask, embedding in zip(
                detections, masks.cpu().split(counts), embeddings.float().cpu().split(counts), strict=True
            )
        ]
        return [
            postprocess(each, scale, image.shape[:2], self.config)
            for each, scale, image in zip(outputs, scales, images, strict=True)
        ]

    def warm_up(self) -> float:
        """Run a few times on an image of noise; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What actually runs: library, device and precision."""
        is_gpu = self.device.type == 'cuda'
        return EngineInfo(
            engine=f'torch {torch.__version__}',
            device=torch.cuda.get_device_name(self.device) if is_gpu else f'cpu ({torch.get_num_threads()} threads)',
            precision=self.precision,
            model=self.config.name,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            input_size=self.input_size,
            note=self._note,
        )


def finds_gpu() -> bool:
    """Whether torch finds a CUDA GPU on this machine."""
    return torch.cuda.is_available()


def preprocess(image: NDArray[np.uint8], config: ModelConfig) -> tuple[Tensor, tuple[float, float]]:
    """Resize and normalize an image.

    Args:
        image: (height, width, 3) uint8 BGR.
        config: input size, resize rule, mean and standard deviation.

    Returns:
        RGB (3, h, w) float32, and the (x, y) factors from source pixels to pixels of the result.

    Raises:
        ValueError: not a (height, width, 3) uint8 image with pixels.
    """
    fitted = fit(image, config)
    rgb = torch.from_numpy(cv2.cvtColor(fitted.image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
    mean, std = torch.tensor(config.mean)[:, None, None], torch.tensor(config.std)[:, None, None]
    return (rgb.float() - mean) / std, fitted.scale


def _pad(images: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, list[tuple[int, int]]]:
    """One batch (B, 3, *size), padded with zeros at the right and bottom, and the (height, width) of each image."""
    batch = images[0].new_zeros(len(images), 3, *size)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return batch, [(image.shape[1], image.shape[2]) for image in images]


def _choose_device(device: str) -> torch.device:
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(
            f'device {device!r} was requested, but torch {torch.__version__} finds no CUDA GPU; use cpu or auto'
        )
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device {device!r} is not auto, cpu, cuda or cuda:N') from error
    if (chosen.index or 0) >= max(torch.cuda.device_count(), 1):
        raise ValueError(f'device {device!r}: torch finds only {torch.cuda.device_count()} GPUs, counted from 0')
    return chosen


def _choose_precision(precision: str, device: torch.device) -> str:
    """The precision to compute in. On a CPU torch is the reference for the other engines, so it runs in fp32 only."""
    if device.type == 'cpu':
        if precision not in ('auto', 'fp32'):
            raise ValueError(f'on a CPU, the engine torch runs in fp32, not in {precision}; engine openvino has others')
        return 'fp32'
    if precision not in ('auto', *_PRECISIONS):
        raise ValueError(f'the engine torch runs in {", ".join(_PRECISIONS)}, not in {precision}')
    return 'fp16' if precision == 'auto' else precision
