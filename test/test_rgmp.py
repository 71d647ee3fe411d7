from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from vis_ros.propagation.blocks.global_convolution import GlobalConvolution, Refinement, ResidualBlock
from vis_ros.propagation.propagation_file import load_propagation, save_propagation
from vis_ros.propagation.rgmp.config import RgmpConfig
from vis_ros.propagation.rgmp.network import Rgmp, mask_probability


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _conv(into: int, out: int, cells: int) -> int:
    return into * out * cells + out


@pytest.fixture(scope='module')
def light() -> Rgmp:
    torch.manual_seed(0)
    return Rgmp(RgmpConfig('light')).eval()


@pytest.fixture(scope='module')
def published() -> Rgmp:
    torch.manual_seed(0)
    return Rgmp(RgmpConfig('published', backbone='resnet50', decoder_channels=256)).eval()


def test_the_published_form_has_the_features_of_the_paper(published: Rgmp) -> None:
    with torch.inference_mode():
        features = published.encoder(torch.randn(1, 4, 64, 96))
    assert [tuple(each.shape[1:]) for each in features] == [(256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3)]


def test_the_published_form_has_the_parameters_of_the_paper(published: Rgmp) -> None:
    resnet50 = 25_557_032 - (2048 * 1000 + 1000) - 2 * 26_560  # without the classifier; batch norm is frozen
    assert _count(published.encoder) == resnet50 + 64 * 7 * 7
    assert _count(published.global_convolution) == 2 * (_conv(4096, 256, 7) + _conv(256, 256, 7))
    assert _count(published.residual) == 2 * _conv(256, 256, 9)
    for module, skip in zip(published.refinements, (1024, 512, 256), strict=True):
        assert _count(module) == _conv(skip, 256, 9) + 4 * _conv(256, 256, 9)
    assert [_count(head) for head in published.heads] == [_conv(256, 2, 9)] * 4


@pytest.mark.parametrize('name', ['light', 'published'])
def test_logits_have_strides_4_to_32(name: str, request: pytest.FixtureRequest) -> None:
    network: Rgmp = request.getfixturevalue(name)
    image, mask = torch.randn(2, 3, 64, 96), torch.rand(2, 1, 64, 96)
    with torch.inference_mode():
        logits = network.segment(image, mask, network.reference(image, mask))
        answer = network(image, mask, network.reference(image, mask))
    assert [tuple(each.shape) for each in logits] == [(2, 2, 16, 24), (2, 2, 8, 12), (2, 2, 4, 6), (2, 2, 2, 3)]
    assert answer.shape == (2, 1, 64, 96)
    assert ((answer >= 0) & (answer <= 1)).all()


def test_the_light_form_is_small(light: Rgmp) -> None:
    assert _count(light) * 2 < 16 * 2**20


def test_a_widened_first_convolution_is_two_convolutions_summed(published: Rgmp) -> None:
    first = published.encoder.body['conv1']
    image, mask = torch.randn(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    seen = {}
    handle = first.register_forward_hook(lambda _, inputs, output: seen.update(output=output))
    with torch.inference_mode():
        published.reference(image, mask)
        of_image = functional.conv2d(image, first.weight[:, :3], stride=2, padding=3)
        of_mask = functional.conv2d(mask * 2 - 1, first.weight[:, 3:], stride=2, padding=3)
    handle.remove()
    torch.testing.assert_close(seen['output'], of_image + of_mask, atol=1e-4, rtol=1e-4)


def test_the_result_depends_on_mask_and_reference(light: Rgmp) -> None:
    image = torch.randn(1, 3, 64, 64)
    empty, square = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    square[..., 16:48, 16:48] = 1
    with torch.inference_mode():
        references = [light.reference(image, mask) for mask in (empty, square)]
        answers = [light(image, mask, reference) for mask in (empty, square) for reference in references]
    for i in range(4):
        for other in answers[:i]:
            assert not torch.equal(answers[i], other)


def test_passes_of_a_batch_are_independent(light: Rgmp) -> None:
    images, masks = torch.randn(3, 3, 64, 64), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        references = light.reference(images, masks)
        together = light(images, masks, references)
        for i in range(3):
            alone = light(images[i : i + 1], masks[i : i + 1], references[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_mask_probability_is_the_softmax_of_enlarged_logits() -> None:
    logits = torch.randn(1, 2, 4, 4)
    fine = functional.interpolate(logits, (16, 16), mode='bilinear')
    expected = fine[:, 1].exp() / fine.exp().sum(1)
    torch.testing.assert_close(mask_probability(logits, (16, 16))[:, 0], expected)


def test_global_convolution_is_two_large_kernels() -> None:
    torch.manual_seed(0)
    module = GlobalConvolution(3, 4, kernel=5).double()
    features = torch.randn(1, 3, 12, 13, dtype=torch.float64)
    # Away from the border a column after a row is one 5 x 5 kernel: the outer product, summed over middle channels.
    (a, b), (c, d) = module.left, module.right
    kernel = torch.einsum('omw,mih->oihw', b.weight[:, :, 0], a.weight[..., 0])
    kernel += torch.einsum('omh,miw->oihw', d.weight[..., 0], c.weight[:, :, 0])
    bias = b.weight.sum((2, 3)) @ a.bias + b.bias + d.weight.sum((2, 3)) @ c.bias + d.bias
    expected = functional.conv2d(features, kernel, bias)
    torch.testing.assert_close(module(features)[..., 2:-2, 2:-2], expected)


def test_the_global_convolution_reaches_seven_cells_square() -> None:
    features = torch.zeros(1, 2, 15, 15)
    impulse = features.clone()
    impulse[0, 0, 7, 7] = 1
    module = GlobalConvolution(2, 3)
    changed = (module(impulse) - module(features)).abs().sum((0, 1)) > 0
    expected = torch.zeros(15, 15, dtype=torch.bool)
    expected[4:11, 4:11] = True
    assert torch.equal(changed, expected)


def test_residual_block_and_refinement_follow_the_description() -> None:
    torch.manual_seed(0)
    block, module = ResidualBlock(4), Refinement(3, 4)

    def residual(x: torch.Tensor, of: ResidualBlock) -> torch.Tensor:
        inner = functional.conv2d(x.clamp(min=0), of.conv1.weight, of.conv1.bias, padding=1)
        return x + functional.conv2d(inner.clamp(min=0), of.conv2.weight, of.conv2.bias, padding=1)

    skip, coarse = torch.randn(1, 3, 8, 10), torch.randn(1, 4, 4, 5)
    torch.testing.assert_close(block(coarse), residual(coarse, block))
    s = residual(module.project(skip), module.skip_residual)
    m = s + functional.interpolate(coarse, scale_factor=2.0, mode='bilinear')
    torch.testing.assert_close(module(skip, coarse), residual(m, module.residual))


def test_a_file_holds_the_network(light: Rgmp, tmp_path) -> None:
    path = tmp_path / 'rgmp.safetensors'
    save_propagation(light, path, torch.float32)
    loaded = load_propagation(path)
    image, mask = torch.randn(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        reference = light.reference(image, mask)
        assert torch.equal(loaded(image, mask, reference), light(image, mask, reference))
