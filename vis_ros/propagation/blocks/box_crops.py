"""Square crops of images at boxes, and pasting them back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SCALE, _LARGEST_SCALE, _SHIFT = 1 / 15, 0.4, 1 / 5
"""Of `shake_boxes`: Laplace scale and bound of the relative change of sides; Laplace scale of the shift in sides."""


def mask_boxes(masks: Tensor) -> Tensor:
    """Boxes (N, 4) float, x0 y0 x1 y1 in pixels, of masks (N, H, W) bool; zeros for an empty mask."""
    (x0, x1), (y0, y1) = _range(masks.any(1)), _range(masks.any(2))
    return torch.stack((x0, y0, x1, y1), 1)


def _range(there: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place plus one (N,) float of each row of (N, L) bool; zeros for an empty row.

    Maxima instead of argmax, whose choice among equals differs between engines.
    """
    places = torch.arange(there.shape[1], device=there.device).float()
    last = (there * (places + 1)).amax(1)
    first = (there * (places.flip(0) + 1)).amax(1)
    return (there.shape[1] - first) * there.any(1), last


def enlarge_boxes(boxes: Tensor, factor: float | Tensor) -> Tensor:
    """Boxes (N, 4) with the same centers, `factor` times as wide and as high. factor: a number or (N, 1)."""
    center, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return torch.cat((center - half, center + half), 1)


def clip_to(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) clipped to an image of (height, width), at least one pixel wide and high."""
    # Sums, because a traced graph would take a list of sizes for constants.
    limit = torch.stack([boxes.new_zeros(()) + size[1], boxes.new_zeros(()) + size[0]])
    low = torch.minimum(boxes[:, :2].clamp(min=0), limit - 1)
    return torch.cat((low, torch.maximum(torch.minimum(boxes[:, 2:], limit), low + 1)), 1)


def shake_boxes(boxes: Tensor) -> Tensor:
    """Boxes (N, 4) with Laplace noise on sides and centers, as if a tracker found them (GOTURN, Held et al. 2016)."""
    noise = torch.distributions.Laplace(boxes.new_zeros(()), boxes.new_ones(()))
    sides = boxes[:, 2:] - boxes[:, :2]
    scale = 1 + (noise.sample(sides.shape) * _SCALE).clamp(-_LARGEST_SCALE, _LARGEST_SCALE)
    shift = (noise.sample(sides.shape) * _SHIFT).clamp(-0.5, 0.5) * sides  # the center stays inside
    center, half = (boxes[:, 2:] + boxes[:, :2]) / 2 + shift, sides * scale / 2
    return torch.cat((center - half, center + half), 1)


def crop_transform(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 2, 3): from coordinates in a crop to coordinates in an image of (height, width), both from -1 to 1."""
    extent = boxes.new_tensor([size[1], size[0]])
    transform = boxes.new_zeros(len(boxes), 2, 3)
    transform[:, 0, 0], transform[:, 1, 1] = ((boxes[:, 2:] - boxes[:, :2]) / extent).unbind(1)
    transform[:, :, 2] = (boxes[:, 2:] + boxes[:, :2]) / extent - 1
    return transform


def crop(images: Tensor, transform: Tensor, side: int) -> Tensor:
    """Crops (N, C, side, side) of images (N, C, H, W) by transforms (N, 2, 3): bilinear, zero outside the image."""
    grid = functional.affine_grid(transform, [len(transform), images.shape[1], side, side], align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def crop_regions(image: Tensor, regions: Tensor, side: int) -> Tensor:
    """Crops (N, C, side, side) of an image (1, C, H, W) at regions (N, 4) in pixels: bilinear, zero outside the image.

    As `crop`, but no size is put into a tensor, because a traced graph would take it for a constant.
    """
    steps = (torch.arange(side, device=image.device) + 0.5) / side
    x = (regions[:, :1] + steps * (regions[:, 2:3] - regions[:, :1])) * 2 / image.shape[3] - 1
    y = (regions[:, 1:2] + steps * (regions[:, 3:] - regions[:, 1:2])) * 2 / image.shape[2] - 1
    grid = torch.stack((x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), 3)
    images = image.expand(regions.shape[0], -1, -1, -1)  # not len, which a traced graph would take for a constant
    return functional.grid_sample(images, grid, align_corners=False)


def paste(crops: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes (N, H, W) with the crops (N, S, S) pasted at their boxes (N, 4): bilinear, zero outside the boxes."""
    height, width = size
    xs = (torch.arange(width, device=crops.device) + 0.5 - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1])
    ys = (torch.arange(height, device=crops.device) + 0.5 - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2])
    inside = ((ys >= 0) & (ys <= 1))[:, :, None] & ((xs >= 0) & (xs <= 1))[:, None]
    grid = torch.stack((xs[:, None].expand(-1, height, -1), ys[:, :, None].expand(-1, -1, width)), 3)
    planes = functional.grid_sample(crops[:, None], grid * 2 - 1, padding_mode='border', align_corners=False)
    return planes[:, 0] * inside
