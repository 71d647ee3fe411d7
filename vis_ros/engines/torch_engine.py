"""TorchEngine: the network in PyTorch, on a CPU or on CUDA; the reference that other engines must equal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vis_ros.engines.engine import EngineInfo
from vis_ros.instances import Instances
from vis_ros.masks import paste
from vis_ros.networks.backbone import fold_batch_norm, noise_images
from vis_ros.networks.config import ModelConfig
from vis_ros.networks.mask_rcnn import Detections, MaskRCNN
from vis_ros.networks.model_file import load_model
from vis_ros.networks.weights import resolve

_DIVISOR = 32


class TorchEngine:
    """An `Engine`. Arguments as in `vis_ros.engines.engine.load_engine`."""

    def __init__(
        self,
        weights: str | Path,
        *,
        model: str = 'auto',
        device: str = 'auto',
        input_size: tuple[int, int] | None = None,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        threads: int = 0,
    ) -> None:
        if threads > 0:
            torch.set_num_threads(threads)
        self.device = _choose_device(device)
        if input_size is not None and min(input_size) < 1:
            raise ValueError(f'input_size {input_size[0]}x{input_size[1]} has no pixels: give height and width')
        network = load_model(resolve(weights), model)
        config = network.config
        if input_size is not None:
            config = config.with_fields(input_height=input_size[0], input_width=input_size[1])
        if score_threshold is not None:
            config = config.with_fields(score_threshold=score_threshold)
        if max_detections is not None:
            config = config.with_fields(max_detections=max_detections)
        self._use(network, config)

    @classmethod
    def of_network(cls, network: MaskRCNN) -> TorchEngine:
        """An engine of a network in memory, which is left as it is (validation during training)."""
        engine = cls.__new__(cls)
        engine.device = next(network.parameters()).device
        engine.config = network.config
        engine.network = network
        engine.class_names = network.config.class_names
        engine.input_size = (network.config.input_height, network.config.input_width)
        return engine

    def _use(self, network: MaskRCNN, config: ModelConfig) -> None:
        network.config = config
        fold_batch_norm(network.backbone.body, noise_images())
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config = config
        self.class_names = config.class_names
        self.input_size = (config.input_height, config.input_width)

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in a batch of images, each (height, width, 3) uint8 BGR; sizes may differ.

        Only images of one padded size share a run of the network: an image in a wider frame of zeros would get other
        features at its border than it gets alone.
        """
        found: dict[int, Instances] = {}
        with torch.inference_mode():
            inputs = [preprocess(image, self.config) for image in images]
            groups: dict[tuple[int, int], list[int]] = {}
            for index, (tensor, _) in enumerate(inputs):
                groups.setdefault(_padded(tensor), []).append(index)
            for size, members in groups.items():
                chosen = self._infer_group([images[i] for i in members], [inputs[i] for i in members], size)
                found.update(zip(members, chosen, strict=True))
        return [found[index] for index in range(len(images))]

    def _infer_group(
        self,
        images: list[NDArray[np.uint8]],
        inputs: list[tuple[Tensor, tuple[float, float]]],
        padded: tuple[int, int],
    ) -> list[Instances]:
        batch, sizes = _pad([tensor for tensor, _ in inputs], padded)
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        scales = [scale for _, scale in inputs]
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
            _to_instances(found, mask.numpy(), embedding.numpy(), scale, image.shape[:2], self.config)
            for found, mask, embedding, scale, image in rows
        ]

    def warm_up(self) -> float:
        """Run on an empty image until the time settles; returns the milliseconds of one image."""
        image = np.zeros((*self.input_size, 3), np.uint8)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            self.infer([image])
            times.append(time.perf_counter() - start)
        return min(times) * 1000

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        parameter = next(self.network.parameters())
        where = torch.cuda.get_device_name(self.device) if self.device.type == 'cuda' else 'cpu'
        return EngineInfo(
            engine=f'torch {torch.__version__}',
            device=where if self.device.type == 'cuda' else f'cpu ({torch.get_num_threads()} threads)',
            precision=str(parameter.dtype).removeprefix('torch.'),
            model=self.config.name,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            input_size=self.input_size,
        )


def preprocess(image: NDArray[np.uint8], config: ModelConfig) -> tuple[Tensor, tuple[float, float]]:
    """A resized, normalised RGB image (3, h, w) float32, and the (x, y) factors from source to network pixels.

    Raises:
        ValueError: not a (height, width, 3) uint8 image with pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f'an image is (height, width, 3) uint8 BGR with pixels, not {image.shape} {image.dtype}')
    height, width = image.shape[:2]
    long, short = max(config.input_height, config.input_width), min(config.input_height, config.input_width)
    scale = min(long / max(height, width), short / min(height, width))
    mean, std = torch.tensor(config.mean)[:, None, None], torch.tensor(config.std)[:, None, None]
    if config.resize == 'uint8':
        size = (max(int(width * scale + 0.5), 1), max(int(height * scale + 0.5), 1))
        resized = image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        rgb = torch.from_numpy(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        tensor = (rgb.float() - mean) / std
    else:
        rgb = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        normalised = (rgb.float() - mean) / std
        size = (max(int(height * scale), 1), max(int(width * scale), 1))
        tensor = functional.interpolate(normalised[None], size, mode='bilinear', align_corners=False)[0]
    if config.legacy_boxes:  # one factor for both axes, as if the resized sides were not rounded
        return tensor, (scale, scale)
    return tensor, (tensor.shape[2] / width, tensor.shape[1] / height)


def _padded(image: Tensor) -> tuple[int, int]:
    """(height, width) of an image (3, h, w), rounded up to what the network takes."""
    return -(-image.shape[1] // _DIVISOR) * _DIVISOR, -(-image.shape[2] // _DIVISOR) * _DIVISOR


def _pad(images: list[Tensor], padded: tuple[int, int]) -> tuple[Tensor, list[tuple[int, int]]]:
    """One batch (B, 3, *padded), zeros right and below, and the (height, width) of each image inside."""
    batch = images[0].new_zeros(len(images), 3, *padded)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return batch, [(image.shape[1], image.shape[2]) for image in images]


def _to_instances(
    found: Detections,
    masks: NDArray[np.float32],
    embeddings: NDArray[np.float32],
    scale: tuple[float, float],
    image_size: tuple[int, int],
    config: ModelConfig,
) -> Instances:
    boxes: NDArray[np.float32] = (found.boxes.cpu() / torch.tensor([*scale, *scale])).numpy()
    pasted = [
        paste(mask, box, image_size, config.mask_paste, config.mask_threshold)
        for mask, box in zip(masks, boxes, strict=True)
    ]
    if config.legacy_boxes:  # x1, y1 are the last pixel; outside this package they are the pixel after it
        boxes = np.minimum(boxes + np.array([0, 0, 1, 1], np.float32), np.array(image_size[::-1] * 2, np.float32))
    return Instances(
        image_size=(image_size[0], image_size[1]),
        boxes=boxes,
        scores=found.scores.cpu().numpy(),
        class_ids=found.labels.cpu().numpy() - 1,
        rois=np.array([roi for _, roi in pasted], np.int32).reshape(-1, 4),
        masks=[mask for mask, _ in pasted],
        embeddings=embeddings,
    )


def _choose_device(device: str) -> torch.device:
    if device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(
            f'device {device!r} was asked for, but torch {torch.__version__} finds no CUDA GPU; use cpu or auto'
        )
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device {device!r} is not auto, cpu, cuda or cuda:N') from error
