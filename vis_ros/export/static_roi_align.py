"""RoIAlign on all levels of the feature pyramid in one operation, for graphs of fixed shapes.

The levels are placed side by side in one feature map, the atlas. Selecting the boxes of each level would give shapes
that depend on the data, and pooling every box on all four levels would take four times as long. Each level in the atlas
has a border that repeats its outermost cells, so that samples between the center of an outermost cell and the edge of
the image are the same as on the level alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from vis_ros.export.graph_file import Target
from vis_ros.networks.backbone import STRIDES
from vis_ros.networks.constants import constant, constant_like
from vis_ros.networks.model_config import ModelConfig

_BEFORE, _AFTER = 1, 2
"""Width of the border of a level in cells. Without the half-pixel correction, a RoI is at least one cell large and may
therefore end one cell outside the level."""


def feature_atlas(features: list[Tensor]) -> Tensor:
    """P2 to P5 (B, C, h, w) in one feature map: P2 at the top, P3, P4 and P5 in a row below it.

    The height and width of P2 are multiples of 8.
    """
    rows, columns = features[0].shape[2], features[0].shape[3]
    border = (_BEFORE, _AFTER, _BEFORE, _AFTER)
    widen = 2 * (_BEFORE + _AFTER)  # the row below has the borders of three levels
    top = functional.pad(features[0], (_BEFORE, _AFTER + widen, _BEFORE, _AFTER), mode='replicate')
    below = [
        functional.pad(features[1], border, mode='replicate'),
        functional.pad(features[2], (_BEFORE, _AFTER, _BEFORE, _AFTER + rows // 4), mode='replicate'),
        functional.pad(
            features[3], (_BEFORE, _AFTER + columns // 8, _BEFORE, _AFTER + 3 * rows // 8), mode='replicate'
        ),
    ]
    return torch.cat((top, torch.cat(below, 3)), 2)


class StaticRoiAlign:
    """RoIAlign on the features of B images, with the same result as `MaskRCNN.roi_align`.

    For 'cpu' it is torchvision's RoIAlign (ONNX RoiAlign). For 'gpu' it is built from GridSample, because TensorRT has
    no built-in RoIAlign layer. Its result differs if `roi_align_samples` is 0: it takes two samples along each side of
    a bin, whereas RoIAlign adapts their number to the size of the bin.

    Args:
        config: the conventions of the model for RoIAlign and boxes.
        target: 'cpu' or 'gpu'.
        features: P2 to P6 (B, C, h, w).
    """

    def __init__(self, config: ModelConfig, target: Target, features: list[Tensor]) -> None:
        self.config = config
        self.target = target
        self.atlas = feature_atlas(features)
        if target == 'cpu':
            # A depthwise convolution with a kernel of 1: OpenVINO stores its output with the channels last, which makes
            # RoIAlign ten times as fast as on the atlas itself.
            one = torch.ones(config.fpn_channels, 1, 1, 1, dtype=self.atlas.dtype, device=self.atlas.device)
            self.atlas = functional.conv2d(self.atlas, one, groups=config.fpn_channels)
        self._half_pixel = config.roi_align_aligned or config.legacy_boxes
        self._samples = config.roi_align_samples or 2
        size = _size(features[0])
        border = _BEFORE + _AFTER
        halves = constant_like(((0, 0), (0, 1), (0.5, 1), (0.75, 1)), size)
        borders = constant_like(((0, 0), (0, border), (border, border), (2 * border, border)), size)
        self._corners = size * halves + borders + _BEFORE
        """(x, y) of the first cell of each level in the atlas."""
        self._ends = size / constant_like(((1,), (2,), (4,), (8,)), size)
        """(columns, rows) of each level."""

    def __call__(self, boxes: Tensor, image: Tensor, size: int) -> Tensor:
        """RoI features (R, C, size, size).

        Args:
            boxes: (R, 4) x0 y0 x1 y1 in pixels of the network's input.
            image: (R,) index of the image of each box. For 'gpu' all images have the same number of boxes, in order.
            size: bins along each side.
        """
        config = self.config
        one = 1.0 if config.legacy_boxes else 0.0
        sides = boxes[:, 2:] - boxes[:, :2] + one
        ratio = (sides[:, 0] * sides[:, 1]).clamp(min=1e-12).sqrt() / 224 + 1e-6
        level = (ratio >= 0.5).long() + (ratio >= 1.0).long() + (ratio >= 2.0).long()  # FPN (Lin et al. 2017), eq. 1
        stride = constant_like(STRIDES[:4], boxes)[level][:, None]
        start, end = boxes[:, :2] / stride, (boxes[:, 2:] + one) / stride
        if config.legacy_boxes:  # see MaskRCNN.roi_align
            start, end = start + 0.5, end + 0.5
        corner = self._corners[level]
        rois = torch.cat((start + corner, end + corner), 1)
        output = self._pool(rois, image, size) if self.target == 'cpu' else self._sample(rois, size)
        if self._half_pixel:
            return output
        inside = self._inside(start, end, self._ends[level], size).to(output.dtype)
        return output * inside[:, 1, None, :, None] * inside[:, 0, None, None, :]

    def _pool(self, rois: Tensor, image: Tensor, size: int) -> Tensor:
        indexed = torch.cat((image[:, None].to(rois.dtype), rois), 1).to(self.atlas.dtype)
        return roi_align(self.atlas, indexed, size, 1.0, self.config.roi_align_samples or -1, self._half_pixel)

    def _sample(self, rois: Tensor, size: int) -> Tensor:
        batch, channels, rows, columns = self.atlas.shape
        samples = self._samples
        side = size * samples
        positions = self._positions(rois[:, :2], rois[:, 2:], side)
        extent = constant_like((int(columns) - 1, int(rows) - 1), positions)[:, None]
        x, y = (positions * (2 / extent) - 1).unbind(1)
        grid = torch.stack((x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), -1)
        sampled = functional.grid_sample(
            self.atlas.float(), grid.reshape(batch, -1, side, 2), padding_mode='border', align_corners=True
        )
        pooled = functional.avg_pool2d(sampled, samples).reshape(batch, channels, -1, size, size)
        return pooled.transpose(1, 2).reshape(-1, channels, size, size).to(self.atlas.dtype)

    def _positions(self, start: Tensor, end: Tensor, count: int) -> Tensor:
        """Coordinates (R, 2, count) of `count` evenly spaced samples along x and y of each RoI."""
        length = end - start if self._half_pixel else (end - start).clamp(min=1.0)
        origin = start - 0.5 if self._half_pixel else start
        steps = (torch.arange(count, dtype=torch.float32, device=start.device) + 0.5) / count
        return origin[:, :, None] + length[:, :, None] * steps

    def _inside(self, start: Tensor, end: Tensor, limit: Tensor, size: int) -> Tensor:
        """The share (R, 2, size) of the samples of each bin that lie inside their level. RoIAlign counts others as 0.

        Only a RoI at the right or lower border that was enlarged to one cell reaches outside. Its bins are so small
        that all their samples inside the level read only the outermost cell.
        """
        positions = self._positions(start, end, size * self._samples)
        inside = (positions <= limit[:, :, None]).float()
        return inside.unflatten(2, (size, self._samples)).mean(3)


def _size(feature: Tensor) -> Tensor:
    """(columns, rows) of a feature map as a tensor; during export it is computed in the graph, for any input size."""
    if not torch.onnx.is_in_onnx_export():
        return constant((feature.shape[3], feature.shape[2]), torch.float32, feature.device)
    shape = torch._shape_as_tensor(feature).to(feature.device).float()
    return torch.stack((shape[3], shape[2]))
