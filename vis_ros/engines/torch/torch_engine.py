"""TorchEngine: the network in PyTorch, on a CPU or on CUDA; the reference that other engines must equal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.engines.engine import EngineInfo, timed_warm_up
from vis_ros.engines.loading import network_config
from vis_ros.engines.postprocessing import to_instances
from vis_ros.engines.torch.cuda_graphs import CudaGraphs
from vis_ros.instances import Instances
from vis_ros.networks.backbone import fold_batch_norm, noise_images
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import load_model
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import check_image, fit, fitted_size, padded

_log = logging.getLogger(__name__)

_PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class TorchEngine:
    """An `Engine`. Arguments as in `vis_ros.engines.loading.load_engine`.

    On CUDA the static network is replayed as a graph of each size of image. The network itself runs everywhere else:
    where a graph cannot be captured, and for an image whose suppression did not come to its end in the static one.
    """

    _graphs: CudaGraphs | None

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
        threads: int = 0,
        note: str = '',
    ) -> None:
        if threads > 0:
            torch.set_num_threads(threads)
        self.device = _choose_device(device)
        self.precision = _choose_precision(precision, self.device)
        self._note = note
        path = resolve(weights)
        config = network_config(path, model, input_size, score_threshold, max_detections)
        network = load_model(path, model)
        network.config = config
        fold_batch_norm(network.backbone.body, noise_images())
        self._use(network.to(self.device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        # A static RoIAlign takes as many samples in every bin; 0 asks for more in larger ones.
        if self.device.type == 'cuda' and config.roi_align_samples:
            self._graphs = CudaGraphs(network, _PRECISIONS[self.precision], self.device)

    @classmethod
    def of_network(cls, network: MaskRCNN) -> TorchEngine:
        """An engine of a network in memory, which is left as it is (validation during training)."""
        engine = cls.__new__(cls)
        engine.device = next(network.parameters()).device
        engine.precision = 'fp32'
        engine._note = ''
        engine._use(network)
        return engine

    def _use(self, network: MaskRCNN) -> None:
        self._graphs = None
        self.network = network
        self.config = network.config
        self.class_names = self.config.class_names
        self.input_size = (self.config.input_height, self.config.input_width)

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in images, each (height, width, 3) uint8 BGR; sizes may differ."""
        for image in images:
            check_image(image)
        with torch.inference_mode():
            if self._graphs is None:
                return self._infer_eagerly(images)
            replayed = [self._replay(image) for image in images]
            return [
                self._infer_eagerly([image])[0] if found is None else found
                for image, found in zip(images, replayed, strict=True)
            ]

    def _replay(self, image: NDArray[np.uint8]) -> Instances | None:
        """What the graph finds in an image; None where there is none, or its answer may not be exact."""
        if self._graphs is None:
            return None
        size = (image.shape[0], image.shape[1])
        try:
            graph = self._graphs.of_size(padded(fitted_size(size, self.config)))
        except RuntimeError as error:
            self._graphs = None
            fault = f'torch runs without a CUDA graph: {str(error).strip().splitlines()[0]}'
            _log.warning(fault)
            self._note = '; '.join(filter(None, (self._note, fault)))
            return None
        fitted = fit(image, self.config, out=graph.image)
        height, width = fitted.image.shape[:2]
        found = graph.run((height, width), fitted.scale, self.config.score_threshold)
        if not found.settled:
            return None
        return to_instances(
            found.boxes, found.scores, found.labels, found.masks, found.embeddings, fitted.scale, size, self.config
        )

    def _infer_eagerly(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in a batch of images.

        Only images of one padded size share a run of the network: an image in a wider frame of zeros would get other
        features at its border than it gets alone.
        """
        found: dict[int, Instances] = {}
        inputs = [preprocess(image, self.config) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (tensor, _) in enumerate(inputs):
            groups.setdefault(padded((tensor.shape[1], tensor.shape[2])), []).append(index)
        for size, members in groups.items():
            chosen = self._infer_group([images[i] for i in members], [inputs[i] for i in members], size)
            found.update(zip(members, chosen, strict=True))
        return [found[index] for index in range(len(images))]

    def _infer_group(
        self,
        images: list[NDArray[np.uint8]],
        inputs: list[tuple[Tensor, tuple[float, float]]],
        canvas: tuple[int, int],
    ) -> list[Instances]:
        batch, sizes = _pad([tensor for tensor, _ in inputs], canvas)
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        scales = [scale for _, scale in inputs]
        low = self.precision != 'fp32'
        with torch.autocast(self.device.type, _PRECISIONS[self.precision] if low else None, enabled=low):
            detections, masks, embeddings = self.network(batch, sizes, scales)
        counts = [len(found.boxes) for found in detections]
        rows = zip(
            detections,
            masks.cpu().split(counts),
            embeddings.float().cpu().split(counts),
            scales,
            images,
            strict=True,
        )
        return [
            to_instances(
                found.boxes.cpu().numpy(),
                found.scores.cpu().numpy(),
                found.labels.cpu().numpy(),
                mask.numpy(),
                embedding.numpy(),
                scale,
                image.shape[:2],
                self.config,
            )
            for found, mask, embedding, scale, image in rows
        ]

    def warm_up(self) -> float:
        """Run on an image of noise until the time settles; returns the milliseconds of one image."""
        return timed_warm_up(self)

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        where = torch.cuda.get_device_name(self.device) if self.device.type == 'cuda' else 'cpu'
        return EngineInfo(
            engine=f'torch {torch.__version__}',
            device=where if self.device.type == 'cuda' else f'cpu ({torch.get_num_threads()} threads)',
            precision=self.precision,
            model=self.config.name,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            input_size=self.input_size,
            note=self._note,
        )


def finds_gpu() -> bool:
    """Whether torch can use a GPU of this machine."""
    return torch.cuda.is_available()


def preprocess(image: NDArray[np.uint8], config: ModelConfig) -> tuple[Tensor, tuple[float, float]]:
    """A resized, normalised RGB image (3, h, w) float32, and the (x, y) factors from source to network pixels.

    Raises:
        ValueError: not a (height, width, 3) uint8 image with pixels.
    """
    fitted = fit(image, config)
    rgb = torch.from_numpy(cv2.cvtColor(fitted.image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
    mean, std = torch.tensor(config.mean)[:, None, None], torch.tensor(config.std)[:, None, None]
    return (rgb.float() - mean) / std, fitted.scale


def _pad(images: list[Tensor], canvas: tuple[int, int]) -> tuple[Tensor, list[tuple[int, int]]]:
    """One batch (B, 3, *canvas), zeros right and below, and the (height, width) of each image inside."""
    batch = images[0].new_zeros(len(images), 3, *canvas)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return batch, [(image.shape[1], image.shape[2]) for image in images]


def _choose_device(device: str) -> torch.device:
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(
            f'device {device!r} was asked for, but torch {torch.__version__} finds no CUDA GPU; use cpu or auto'
        )
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device {device!r} is not auto, cpu, cuda or cuda:N') from error
    if (chosen.index or 0) >= max(torch.cuda.device_count(), 1):
        raise ValueError(f'device {device!r}: torch finds only {torch.cuda.device_count()} GPUs, counted from 0')
    return chosen


def _choose_precision(precision: str, device: torch.device) -> str:
    """On a processor torch is the reference of the other engines; on a GPU half precision is what the card is for."""
    if device.type == 'cpu':
        if precision not in ('auto', 'fp32'):
            raise ValueError(f'torch runs in fp32 on a processor, not in {precision}; the engine openvino may')
        return 'fp32'
    if precision not in ('auto', *_PRECISIONS):
        raise ValueError(f'torch has no precision {precision}; it has {", ".join(_PRECISIONS)}')
    return 'fp16' if precision == 'auto' else precision
