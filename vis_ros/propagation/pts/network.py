"""Pts: the networks of PTS, propose, track, segment (Zhou et al. 2019, arXiv 1907.01203)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.otn import Otn, normalized_map
from vis_ros.propagation.pts.rgsn import Rgsn


class Pts(nn.Module):
    """OTN, which finds the box of an object, and RGSN, which segments the object in the box. Stateless.

    The proposals come from another network, the RPN of Mask R-CNN (`vis_ros.propagation.pts.proposals`). Only RGSN is
    trained in advance; OTN is trained online for each object.
    """

    def __init__(self, config: PtsConfig) -> None:
        super().__init__()
        self.config = config
        self.rgsn = Rgsn(config)
        self.otn = Otn(config, self.rgsn.encoder.channels[1:3])
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def frame(self, image: Tensor) -> list[Tensor]:
        """The input of `otn.box_features` for an image (1, 3, h, w), normalized RGB.

        Returns:
            the features of the encoder of RGSN at strides 8 and 16, normalized; with otn_features 'vgg_m' the image.
        """
        if self.config.otn_features == 'vgg_m':
            return [image]
        return [normalized_map(each) for each in self.rgsn.encode(image, torch.zeros_like(image[:, :1]))[1:3]]
