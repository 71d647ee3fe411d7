from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from vis_ros.propagation.propagation_file import load_propagation, save_propagation
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.network import Pts
from vis_ros.propagation.pts.rgsn import Rgsn


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _conv(into: int, out: int, cells: int) -> int:
    return into * out * cells + out


@pytest.fixture(scope='module')
def light() -> Pts:
    torch.manual_seed(0)
    return Pts(PtsConfig('light')).eval()


@pytest.fixture(scope='module')
def published() -> Pts:
    torch.manual_seed(0)
    config = PtsConfig('published', backbone='resnet50', decoder_channels=256, otn_features='vgg_m', otn_channels=512)
    return Pts(config).eval()


def test_the_published_rgsn_has_the_parameters_of_the_paper(published: Pts) -> None:
    resnet50 = 25_557_032 - (2048 * 1000 + 1000) - 2 * 26_560  # without the classifier; batch norm is frozen
    rgsn = published.rgsn
    assert _count(rgsn.encoder) == resnet50 + 64 * 7 * 7
    assert _count(rgsn.decoder.global_convolution) == 2 * (_conv(4096, 256, 7) + _conv(256, 256, 7))
    assert _count(rgsn.decoder.residual) == 2 * _conv(256, 256, 9)
    for module, skip in zip(rgsn.decoder.refinements, (1024, 512, 256), strict=True):
        assert _count(module) == _conv(skip, 256, 9) + 4 * _conv(256, 256, 9)
    assert _count(rgsn.decoder.head) == _conv(256, 2, 9)
    assert rgsn.decoder.dropout.p == 0.5


def test_the_published_otn_has_the_parameters_of_the_paper(published: Pts) -> None:
    convolutions = _conv(3, 96, 49) + _conv(96, 256, 25) + _conv(256, 512, 9)
    assert _count(published.otn) == convolutions + _conv(4608, 512, 1) + _conv(512, 512, 1) + _conv(512, 2, 1)


def test_the_published_form_goes_from_crops_of_256_to_logits_of_256(published: Pts) -> None:
    image, plane = torch.randn(1, 3, 256, 256), torch.rand(1, 1, 256, 256)
    with torch.inference_mode():
        features = published.rgsn.encode(image, plane)
        assert [tuple(each.shape[1:]) for each in features] == [
            (256, 64, 64),
            (512, 32, 32),
            (1024, 16, 16),
            (2048, 8, 8),
        ]
        reference = published.rgsn.reference(image, plane)
        assert torch.equal(reference, features[-1])
        assert published.rgsn(image, plane, reference).shape == (1, 2, 256, 256)
        assert published.otn.box_features(published.frame(image), torch.rand(3, 4) + 50).shape == (3, 4608)


def test_the_light_form_is_small(light: Pts) -> None:
    assert _count(light) * 2 < 8 * 2**20


def test_the_light_otn_uses_the_encoder_on_the_whole_frame(light: Pts) -> None:
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        maps = light.frame(image)
        expected = light.rgsn.encode(image, torch.zeros(1, 1, 64, 96))
        features = light.otn.box_features(maps, torch.tensor([[10.0, 10, 40, 50]]))
    assert [tuple(each.shape[2:]) for each in maps] == [(8, 12), (4, 6)]
    for each, other in zip(maps, expected[1:3], strict=True):
        normal = functional.layer_norm(other.permute(0, 2, 3, 1), (other.shape[1],)).permute(0, 3, 1, 2)
        torch.testing.assert_close(each, normal, atol=1e-4, rtol=1e-4)
    assert features.shape == (1, light.otn.classifier.fc4.in_features)


def test_the_result_depends_on_heat_map_and_reference(light: Pts) -> None:
    image, rgsn = torch.randn(1, 3, 64, 64), light.rgsn
    empty, square = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    square[..., 16:48, 16:48] = 1
    with torch.inference_mode():
        references = [rgsn.reference(image, mask) for mask in (empty, square)]
        answers = [rgsn(image, heat, reference) for heat in (empty, square) for reference in references]
    for i in range(4):
        for other in answers[:i]:
            assert not torch.equal(answers[i], other)


def test_crops_of_a_batch_are_independent(light: Pts) -> None:
    rgsn: Rgsn = light.rgsn
    images, planes = torch.randn(3, 3, 64, 64), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        references = rgsn.reference(images, planes)
        together = rgsn(images, planes, references)
        for i in range(3):
            alone = rgsn(images[i : i + 1], planes[i : i + 1], references[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_a_file_holds_the_network(light: Pts, tmp_path) -> None:
    path = tmp_path / 'pts.safetensors'
    save_propagation(light, path, torch.float32)
    loaded = load_propagation(path)
    assert loaded.config == light.config
    for name, tensor in light.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
