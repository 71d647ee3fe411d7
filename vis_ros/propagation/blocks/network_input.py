"""Images and masks as the tensors a propagation network takes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.networks.model_config import ModelConfig
from vis_ros.propagation.propagation_config import PropagationConfig


class NetworkInput:
    """Converts images and masks to tensors on a device, with the mean and std of a config."""

    def __init__(self, config: PropagationConfig, device: torch.device) -> None:
        self._config, self._device = config, device

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """(1, 3, h, w) normalized RGB of an image (h, w, 3) uint8 BGR."""
        return normalized(torch.from_numpy(np.ascontiguousarray(image)).to(self._device), self._config)

    def mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (h, w) as a bool tensor, a copy."""
        return torch.from_numpy(mask.copy()).to(self._device)


def normalized(image: Tensor, config: PropagationConfig | ModelConfig) -> Tensor:
    """(1, 3, h, w) normalized RGB of an image (h, w, 3) uint8 BGR."""
    pixels = image.float().permute(2, 0, 1).flip(0)  # TensorRT transposes no bytes
    mean, std = (pixels.new_tensor(each)[:, None, None] for each in (config.mean, config.std))
    return ((pixels - mean) / std)[None]
