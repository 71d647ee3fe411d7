"""NanoDetBody against torchvision's ShuffleNetV2, and weights from an ncnn file that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x1_0

from vis_ros.networks.backbone import fold_batch_norm
from vis_ros.networks.dense_head import DenseHead
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import DEMO
from vis_ros.networks.ncnn_weights import load_nanodet
from vis_ros.networks.shuffle_pyramid import NanoDetBody, ShufflePyramid

HALF = 0x01306B47
DENSE = DEMO.with_fields(dense_classes=(*DEMO.class_names, *DEMO.class_names[: 80 - len(DEMO.class_names)]))


class Stages(nn.Module):
    """The stages of torchvision's network with leaky ReLUs, as feature maps by name."""

    def __init__(self) -> None:
        super().__init__()
        network = shufflenet_v2_x1_0(weights=None)
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.LeakyReLU(0.1))
        self.parts = nn.Sequential(
            nn.Sequential(network.conv1, network.maxpool), network.stage2, network.stage3, network.stage4
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = {}
        for number, part in enumerate(self.parts):
            images = part(images)
            features[str(number)] = images
        return features


def test_the_stages_are_those_of_torchvision() -> None:
    torch.manual_seed(0)
    theirs, body = Stages().eval(), NanoDetBody().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    images = torch.randn(1, 3, 64, 96)
    fold_batch_norm(theirs, images)
    convolutions = [m for part in (body.stem, *body.stages) for m in part.modules() if isinstance(m, nn.Conv2d)]
    originals = [m for m in theirs.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for mine, other in zip(convolutions, originals, strict=True):
            mine.weight.copy_(other.weight)
            assert mine.bias is not None and other.bias is not None
            mine.bias.copy_(other.bias)
        features = [nn.functional.max_pool2d(body.stem(images), 3, 2, 1)]
        for stage in body.stages:
            features.append(stage(features[-1]))
        for mine, other in zip(features, theirs(images).values(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_levels_have_the_strides_of_a_pyramid() -> None:
    levels = ShufflePyramid()(torch.zeros(2, 3, 96, 160))
    assert [tuple(level.shape) for level in levels] == [
        (2, 96, 24, 40), (2, 96, 12, 20), (2, 96, 6, 10), (2, 96, 3, 5), (2, 96, 2, 3)
    ]  # fmt: skip


def write_ncnn(folder: Path, body: NanoDetBody, head: DenseHead, number: type[np.generic]) -> Path:
    """The convolutions of a body and a head in the order of the graph of NanoDet."""
    lines, data = ['7767517', '0 0'], b''
    for name, conv in graph_order(body, head):
        weight = conv.weight.detach()
        if name == 'stem':
            weight = weight.flip(1)
        kind = 'ConvolutionDepthWise' if conv.groups > 1 else 'Convolution'
        lines.append(f'{kind} {name} 1 1 a b 0={len(weight)} 1={conv.kernel_size[0]} 6={weight.numel()}')
        lines.append(f'Split split_{name} 1 2 b c d')
        values = weight.numpy().astype(number).tobytes()
        tag = HALF if number is np.float16 else 0
        data += tag.to_bytes(4, 'little') + values + b'\0' * (-len(values) % 4)
        assert conv.bias is not None
        data += conv.bias.detach().numpy().tobytes()
    path = folder / 'nanodet.ncnn.bin'
    path.write_bytes(data)
    path.with_suffix('.param').write_text('\n'.join(lines))
    return path


def graph_order(body: NanoDetBody, head: DenseHead) -> list[tuple[str, nn.Conv2d]]:
    """Recorded from the published .param file by names of modules."""
    order = ['stem.0']
    for stage, units in enumerate((4, 8, 4)):
        parts = ('short.0', 'branch.0', 'branch.1', 'short.1', 'branch.2')
        order += [f'stages.{stage}.0.{part}.0' for part in parts]
        order += [f'stages.{stage}.{unit}.branch.{n}.0' for unit in range(1, units) for n in range(3)]
    ghost = ('first.0', 'first_ghost.0', 'second.0', 'second_ghost.0', 'shortcut.0.0', 'shortcut.1.0')
    order += ['pan.reduce.2.0', 'pan.reduce.1.0', *(f'pan.down.0.{each}' for each in ghost)]
    order += ['pan.reduce.0.0', *(f'pan.down.1.{each}' for each in ghost)]
    for n in range(2):
        order += [f'pan.shrink.{n}.0.0', f'pan.shrink.{n}.1.0', *(f'pan.up.{n}.{each}' for each in ghost)]
    order += [f'pan.{each}.{n}.0' for each in ('last_input', 'last_output') for n in range(2)]
    order += [f'towers.{level}.0.{n}.0' for level in range(4) for n in range(2)]
    for level in (3, 2, 1, 0):
        order += [f'towers.{level}.1.{n}.0' for n in range(2)] + [f'outputs.{level}']
    modules = dict(body.named_modules()) | dict(head.named_modules())
    convolutions = [(name.removesuffix('.0') if name == 'stem.0' else name, modules[name]) for name in order]
    return [(name, conv) for name, conv in convolutions if isinstance(conv, nn.Conv2d)]


@pytest.mark.parametrize('number', [np.float16, np.float32])
def test_weights_of_an_ncnn_file_reach_their_layers(tmp_path: Path, number: type[np.generic]) -> None:
    torch.manual_seed(1)
    source, body = NanoDetBody().eval(), NanoDetBody().eval()
    their_head, head = DenseHead(DENSE), DenseHead(DENSE)
    path = write_ncnn(tmp_path, source, their_head, number)
    assert load_nanodet(body, None, path) == 90
    assert load_nanodet(body, head, path) == 110
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for mine, other in zip(body(images).values(), source(images).values(), strict=True):
            torch.testing.assert_close(mine, other, rtol=2e-2, atol=2e-3)
    for name, weights in head.state_dict().items():
        torch.testing.assert_close(weights, their_head.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_other_ncnn_files_are_refused(tmp_path: Path) -> None:
    path = write_ncnn(tmp_path, NanoDetBody(), DenseHead(DENSE), np.float32)
    lines = path.with_suffix('.param').read_text().splitlines()
    path.with_suffix('.param').write_text('\n'.join([*lines[:2], *lines[4:]]))
    with pytest.raises(ValueError, match=r'does not hold the 90 convolutions of NanoDet-Plus-m|unknown kind'):
        load_nanodet(NanoDetBody(), None, path)


def test_the_channels_of_the_pyramid_are_given() -> None:
    with pytest.raises(ValueError, match='fpn_channels is 80, but backbone nanodet_plus_m has 96'):
        build_network(DEMO.with_fields(backbone='nanodet_plus_m', fpn_channels=80))
