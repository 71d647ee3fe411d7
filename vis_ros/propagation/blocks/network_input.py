"""NetworkInput: images and masks as the tensors a propagation network takes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.propagation.propagation_config import PropagationConfig


class NetworkInput:
    """Converts images and masks to tensors on a device, with the mean and std of a config."""

    def __init__(self, config: PropagationConfig, device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(config.mean, device=device)[:, None, None]
        self._std = torch.tensor(config.std, device=device)[:, None, None]

    def image(self, image: NDArray[np.uint8]) -> Tensor:
        """(1, 3, h, w) normalized RGB of an image (h, w, 3) uint8 BGR."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1).flip(0).float()
        return ((pixels - self._mean) / self._std)[None]

    def mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (h, w) as a bool tensor, a copy."""
        return torch.from_numpy(mask.copy()).to(self._device)

    def soft_mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (h, w) as a float tensor, 0 or 1."""
        return torch.from_numpy(mask.astype(np.float32)).to(self._device)
