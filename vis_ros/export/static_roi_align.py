"""RoIAlign of all pyramid levels in one operation: the levels lie side by side in one picture, the atlas.

One operation on one picture costs a quarter of four operations of which three are thrown away, and needs no selection
of boxes by level, whose shape would depend on the data. Each level has a border that repeats its outermost cells, so
that samples between the outermost cell centre and the edge of the image are what they are alone.
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
"""Cells of border. A RoI that is forced to one cell (RoIAlign without the half-pixel correction) may end one cell
outside."""


def feature_atlas(features: list[Tensor]) -> Tensor:
    """P2 to P5 (B, C, h, w), h and w multiples of 8, as one picture: P2 above, P3, P4 and P5 in a row below it."""
    rows, columns = features[0].shape[2], features[0].shape[3]
    border = (_BEFORE, _AFTER, _BEFORE, _AFTER)
    widen = 2 * (_BEFORE + _AFTER)  # the row below has three borders, P2 one
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
    """RoIAlign on the features of B images; equals `MaskRCNN.roi_align`.

    target 'cpu': torchvision's RoIAlign (ONNX RoiAlign); 'gpu': GridSample, since TensorRT has no RoIAlign of its own.
    But for 'gpu' with `roi_align_samples` 0: two samples along a side of a bin then, where RoIAlign adapts their number
    to the size of the bin.
    """

    def __init__(self, config: ModelConfig, target: Target, features: list[Tensor]) -> None:
        self.config = config
        self.target = target
        self.atlas = feature_atlas(features)
        if target == 'cpu':
            # Multiplied by one, by a convolution: OpenVINO lays its output out channel by channel within each cell, in
            # which RoIAlign is ten times as fast; it would take the atlas as it comes, one channel after another.
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
        """RoI features (R, C, size, size) of boxes (R, 4) in pixels of the network's input.

        image: (R,) index of the image of each box; for 'gpu' each image has the same number of boxes, in order.
        """
        config = self.config
        one = 1.0 if config.legacy_boxes else 0.0
        sides = boxes[:, 2:] - boxes[:, :2] + one
        ratio = (sides[:, 0] * sides[:, 1]).clamp(min=1e-12).sqrt() / 224 + 1e-6
        level = (ratio >= 0.5).long() + (ratio >= 1.0).long() + (ratio >= 2.0).long()  # FPN, eq. 1
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
        """Coordinates (R, 2, count) of `count` samples along x and y."""
        length = end - start if self._half_pixel else (end - start).clamp(min=1.0)
        origin = start - 0.5 if self._half_pixel else start
        steps = (torch.arange(count, dtype=torch.float32, device=start.device) + 0.5) / count
        return origin[:, :, None] + length[:, :, None] * steps

    def _inside(self, start: Tensor, end: Tensor, limit: Tensor, size: int) -> Tensor:
        """The share (R, 2, size) of the samples of each bin that lie inside their level; RoIAlign counts others as 0.

        Only a RoI that is forced to one cell at the right or lower border reaches out, and its bins are so small that
        all their samples that lie inside see nothing but the outermost cell.
        """
        positions = self._positions(start, end, size * self._samples)
        inside = (positions <= limit[:, :, None]).float()
        return inside.unflatten(2, (size, self._samples)).mean(3)


def _size(feature: Tensor) -> Tensor:
    """(columns, rows) of a feature map as a tensor, in a graph of any size as a part of it."""
    if not torch.onnx.is_in_onnx_export():
        return constant((feature.shape[3], feature.shape[2]), torch.float32, feature.device)
    shape = torch._shape_as_tensor(feature).to(feature.device).float()
    return torch.stack((shape[3], shape[2]))
