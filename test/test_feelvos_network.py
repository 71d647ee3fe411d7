from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from vis_ros.networks.backbone import PyramidBackbone
from vis_ros.networks.model_config import ModelConfig
from vis_ros.propagation.feelvos.config import PUBLISHED, FeelvosConfig
from vis_ros.propagation.feelvos.network import DynamicHead, Embedding, Feelvos, enlarge
from vis_ros.propagation.propagation_file import load_propagation, save_propagation

_LIGHT = FeelvosConfig('light')


@pytest.fixture(scope='module')
def light() -> Feelvos:
    torch.manual_seed(0)
    return Feelvos(_LIGHT).eval()


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_features_are_at_stride_4_and_embeddings_at_that_of_the_matching(light: Feelvos) -> None:
    with torch.inference_mode():
        features, embeddings = light.encode(torch.randn(2, 3, 64, 96))
    assert features.shape == (2, 80, 16, 24)
    assert embeddings.shape == (2, 100, 8, 12)
    assert embeddings.amin() >= 0


def test_another_light_backbone_and_matching_at_stride_4() -> None:
    network = Feelvos(_LIGHT.with_fields(backbone='resnet18', matching_stride=4, feature_channels=64)).eval()
    with torch.inference_mode():
        features, embeddings = network.encode(torch.randn(1, 3, 32, 64))
    assert features.shape == (1, 64, 8, 16)
    assert embeddings.shape == (1, 100, 8, 16)


def test_a_matching_stride_is_checked() -> None:
    with pytest.raises(ValueError, match='matching_stride 6 is not one of'):
        Feelvos(_LIGHT.with_fields(matching_stride=6))


def test_the_light_network_fits_16_mib_in_half_precision(light: Feelvos) -> None:
    assert _count(light) * 2 <= 16 * 2**20


def test_body_and_pyramid_have_the_names_and_shapes_of_the_packaged_detector(light: Feelvos) -> None:
    config = ModelConfig(
        'demo', ('object',), backbone=_LIGHT.backbone, batch_norm_folded=True, fpn_channels=80, fpn_norm='group'
    )
    detector = PyramidBackbone(config)
    assert isinstance(light.backbone, nn.Module)
    light.backbone.encoder.body.load_state_dict(detector.body.state_dict())
    light.backbone.fpn.load_state_dict(detector.fpn.state_dict())


def test_the_published_network_runs_and_has_the_published_shapes() -> None:
    network = Feelvos(PUBLISHED).eval()
    with torch.inference_mode():
        features, embeddings = network.encode(torch.randn(1, 3, 64, 96))
    assert features.shape == (1, 256, 16, 24)
    assert embeddings.shape == (1, 100, 16, 24)
    assert (PUBLISHED.matching_stride, PUBLISHED.local_window) == (4, 15)
    head = network.head
    assert [each.weight.shape for each in head.depthwise] == [(259, 1, 7, 7)] + [(256, 1, 7, 7)] * 3
    assert [each.weight.shape for each in head.pointwise] == [(256, 259, 1, 1)] + [(256, 256, 1, 1)] * 3
    assert head.logit.weight.shape == (1, 256, 1, 1)
    layers = [259 * 50 + 260 * 256] + [256 * 50 + 257 * 256] * 3  # with biases
    assert _count(head) == sum(layers) + 257
    assert _count(network.embedding) == 256 * 10 + 257 * 100
    assert network.embedding.depthwise.weight.shape == (256, 1, 3, 3)
    assert not [name for name, module in network.train().named_modules() if _moves(module)]


def _moves(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.training


def test_initial_embeddings_are_close_to_the_features() -> None:
    torch.manual_seed(1)
    embedding = Embedding(12, 8, 1.0)
    features = torch.rand(1, 12, 6, 6)
    with torch.inference_mode():
        assert (embedding(features) - features[:, :8])[..., 1:-1, 1:-1].abs().mean() < 0.15
        half = Embedding(12, 16, 0.5)(features)
    assert (half[:, :12] - features / 2)[..., 1:-1, 1:-1].abs().mean() < 0.1
    with torch.inference_mode():
        assert embedding(-features).amin() >= 0


def test_the_head_is_the_same_for_each_object_and_shared_features_are_computed_once() -> None:
    torch.manual_seed(2)
    head = DynamicHead(6, 10)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.2)  # biases too
    features, maps = torch.randn(6, 12, 14), torch.rand(3, 3, 12, 14)
    with torch.inference_mode():
        found = head(features, maps)
        for index in range(3):
            x = torch.cat((features, maps[index]))[None]  # the features first
            for depthwise, pointwise in zip(head.depthwise, head.pointwise, strict=True):
                x = functional.relu(pointwise(functional.relu(depthwise(x))))
            assert torch.allclose(found[index], head.logit(x)[0, 0], rtol=1e-3, atol=1e-3)


def test_an_initial_head_prefers_the_nearest_object() -> None:
    torch.manual_seed(4)
    head = DynamicHead(8, 16)
    maps = torch.zeros(2, 3, 16, 16)
    maps[0, 0], maps[0, 2] = 0.1, 0.1
    maps[1, 0], maps[1, 2] = 0.9, 0.9
    with torch.inference_mode():
        near, far = head(torch.rand(8, 16, 16), maps)[:, 4:-4, 4:-4]
    assert (near > far + 2).all()


def test_the_maps_of_an_object_are_global_previous_local(light: Feelvos, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def head(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        seen.append(maps)
        return maps[:, 0]

    monkeypatch.setattr(light.head, 'forward', head)
    masks = torch.zeros(2, 32, 64, dtype=torch.bool)
    masks[1, 8:16, 16:48] = True
    masks[0] = ~masks[1]
    light.segment(torch.zeros(80, 8, 16), torch.full((2, 4, 8), 0.25), torch.full((2, 4, 8), 0.75), masks)
    maps = seen[0]
    assert maps.shape == (2, 3, 8, 16)
    assert torch.allclose(maps[:, 0], torch.tensor(0.25))
    assert torch.allclose(maps[:, 2], torch.tensor(0.75))
    expected = torch.zeros(8, 16)
    expected[2:4, 4:12] = 1
    assert (maps[1, 1] == expected).all()
    assert (maps[0, 1] == 1 - expected).all()


def test_logits_are_enlarged_by_4() -> None:
    logits = torch.randn(3, 4, 6)
    large = enlarge(logits)
    assert large.shape == (3, 16, 24)
    assert torch.allclose(functional.avg_pool2d(large, 4)[:, 1:-1, 1:-1].mean(), logits[:, 1:-1, 1:-1].mean(), atol=0.3)


def test_a_file_holds_the_network(light: Feelvos, tmp_path: Path) -> None:
    path = tmp_path / 'feelvos.safetensors'
    save_propagation(light, path)
    loaded = load_propagation(path)
    assert loaded.config == light.config
    assert path.stat().st_size < 16 * 2**20
