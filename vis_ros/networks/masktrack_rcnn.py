"""MaskTrack R-CNN (Yang et al. 2019): Mask R-CNN with a track head, which embeds each box for association."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vis_ros.networks.mask_rcnn import BOX_ROI_SIZE, MaskRCNN
from vis_ros.networks.model_config import ModelConfig


class TrackHead(nn.Module):
    """Two fully connected layers from RoI features (R, channels, 7, 7) to embeddings (R, E)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inputs = config.fpn_channels * BOX_ROI_SIZE**2
        layers = [nn.Linear(inputs, config.embedding_size), nn.Linear(config.embedding_size, config.embedding_size)]
        self.fcs = nn.ModuleList(layers)
        self.last_relu = config.embedding_last_relu
        for layer in layers:
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, rois: Tensor) -> Tensor:
        hidden = self.fcs[0](rois.flatten(1)).relu()
        embeddings = self.fcs[1](hidden)
        return embeddings.relu() if self.last_relu else embeddings


class MaskTrackRCNN(MaskRCNN):
    """Mask R-CNN with a learned embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.track_head = TrackHead(config)

    def embed(self, rois: Tensor) -> Tensor:
        """Embeddings (R, E) of RoI features (R, channels, 7, 7), from the track head."""
        return self.track_head(rois)


def track_logits(embeddings: Tensor, memory: Tensor) -> Tensor:
    """Logits (M, N + 1) of M detections for N tracks.

    Column 0 is zero and stands for a new object. The softmax over the columns is p_i(n) of Yang et al. 2019, eq. 2.

    Args:
        embeddings: (M, E) of the detections.
        memory: (N, E) of the tracks.
    """
    products = embeddings @ memory.T
    return torch.cat((products.new_zeros(len(embeddings), 1), products), 1)


def build_network(config: ModelConfig) -> MaskRCNN:
    """The network that a config describes, with randomly initialized weights."""
    return MaskTrackRCNN(config) if config.architecture == 'masktrack_rcnn' else MaskRCNN(config)
