"""Train a ResNet-50 detector of random weights on synthetic scenes: a dense network with real scores, for measurements.

    python -m benchmarks.train_resnet OUT [--steps 500]

One core takes an hour or two, without data or pretrained weights. `vis-ros train` freezes batch norm, as it should with
pretrained weights; here it learns for the first 70 % of the steps. A restarted run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vis_ros.networks import backbone
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.training import trainer
from vis_ros.training.detection_task import DetectionTask
from vis_ros.training.train_config import TrainConfig

SIZE = 128, 224
"""(height, width) of the scenes and of the network's input."""

CONFIG: dict[str, Any] = {
    'data': [{'kind': 'scenes'}],
    'pretrained': '',
    'model': {
        'name': 'resnet50_shapes',
        'backbone': 'resnet50',
        'batch_norm_folded': False,
        'input_height': SIZE[0],
        'input_width': SIZE[1],
        'anchor_scale': 4.0,
        'fpn_channels': 256,
        'fpn_norm': 'none',
        'box_head_channels': 1024,
        'mask_channels': 256,
    },
    'image_height': SIZE[0],
    'image_width': SIZE[1],
    'pairs': 2,
    'sampled_rois': 32,
    'frozen_blocks': -1,
    'learning_rate': 4e-4,
    'backbone_learning_rate': 4e-4,
    'warm_up_steps': 60,
    'ema': 0.99,
    'precision': 'bfloat16',
    'checkpoint_every': 40,
}

_LEARNING = 0.7
"""Share of the steps in which batch norm learns."""
_TRACK_LOSS = 0.05
"""Weight of the track loss, whose gradients are a hundred times as large as the others at first."""
_FIRST_WEIGHTS = 0.2
"""Factor of the first weights of the layers whose outputs would be too large."""


class LearningBatchNorm(nn.BatchNorm2d):
    """Batch norm with the tensors of a frozen one."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *arguments: Any) -> None:
        nn.Module._load_from_state_dict(self, *arguments)  # that of batch norm adds the count of batches


class WeightedLosses(nn.Module):
    """The losses of a detector, with less weight for the track loss."""

    def __init__(self, losses: nn.Module) -> None:
        super().__init__()
        self.losses = losses

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        found = self.losses(*batch)
        return found | {'track': _TRACK_LOSS * found['track']}


class ResNetTask(DetectionTask):
    """Starts with residual blocks that pass on their input."""

    def build(self) -> MaskRCNN:
        network = super().build()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith('bn3.weight'):
                    parameter.zero_()
                elif 'track_head' in name or 'mask_fcn_logits' in name:
                    parameter.mul_(_FIRST_WEIGHTS)
        return network

    def losses(self, network: nn.Module) -> nn.Module:
        return WeightedLosses(super().losses(network))


class ResNetTrainer(trainer.Trainer):
    """Lets batch norm learn, then freezes it."""

    def train_step(self, images: Any, truth: Any) -> dict[str, float]:
        learns = self.step < _LEARNING * self.config.steps
        body: Any = self.network.backbone.body
        body.train = lambda mode=True: nn.Module.train(body, mode and learns)
        return super().train_step(images, truth)

    @torch.no_grad()
    def _average(self) -> None:
        super()._average()
        for name, tensor in self.network.named_buffers():
            if name in self.average:
                self.average[name].copy_(tensor)


def main() -> None:
    """Read the arguments, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out')
    parser.add_argument('--steps', type=int, default=500)
    arguments = parser.parse_args()
    backbone.FrozenBatchNorm2d = LearningBatchNorm  # type: ignore[misc,assignment]
    trainer.DetectionTask = ResNetTask  # type: ignore[misc]
    trainer.freeze = lambda network, blocks: None  # nothing is frozen
    config = TrainConfig.from_dict(CONFIG | {'out': arguments.out, 'steps': arguments.steps})
    with trainer.join_ranks(config.device) as ranks:
        ResNetTrainer(config, Path(config.out), ranks).run()


if __name__ == '__main__':
    main()
