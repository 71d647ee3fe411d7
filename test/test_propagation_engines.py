"""The parts of propagation networks as graphs: OpenVINO gives what torch gives, and TensorRT builds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from test_openvino_engine import HAS_BF16
from torchvision.ops import roi_align, roi_pool

from vis_ros.cli.export import export as export_command
from vis_ros.engines.accuracy_check import InaccurateEngineError
from vis_ros.engines.propagation_check import check_propagation
from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.export.onnx_metadata import read_metadata_props
from vis_ros.export.part_export import export_parts
from vis_ros.export.part_graphs import DIGEST_KEY, find_part_graphs, find_proposal_graph, part_graph_path
from vis_ros.file_digest import sha256_of
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.maskrnn.config import MaskRnnConfig
from vis_ros.propagation.maskrnn.roi_max_pool import roi_max_pool
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.packaged_weights import propagation_weights
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import build_propagation_network, save_propagation
from vis_ros.propagation.propagation_header import read_propagation_config
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.object_tracking import TrackingSettings
from vis_ros.propagation.pts.sampled_roi_align import sampled_roi_align
from vis_ros.propagation.rgmp.config import RgmpConfig
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

CONFIGS: dict[str, PropagationConfig] = {
    'feelvos': FeelvosConfig('tiny', input_height=64, input_width=96, head_channels=16, embedding_diagonal=3.0),
    'feelvos at stride 4': FeelvosConfig(
        'tiny', input_height=64, input_width=96, head_channels=16, matching_stride=4, local_window=3
    ),
    'maskrnn': MaskRnnConfig('tiny', input_height=64, input_width=96),
    'maskrnn as published': MaskRnnConfig('tiny', input_height=64, input_width=96, causal=False),
    'rgmp': RgmpConfig('tiny', input_height=64, input_width=96, decoder_channels=16),
    'pts': PtsConfig('tiny', input_height=64, input_width=96, decoder_channels=16, crop_size=64, otn_channels=32),
    'pts as published': PtsConfig(
        'tiny',
        input_height=64,
        input_width=96,
        decoder_channels=16,
        crop_size=64,
        otn_features='vgg_m',
        otn_channels=32,
    ),
}
SIZE = (96, 128)
"""Of the images: another size than that of the config, which the graphs are traced at."""
TOLERANCE = 2e-3
"""Largest difference of a probability. Labels are fed back, so a pixel that two objects share equally may differ more
from the second frame on: such pixels are a thousandth at most."""


@pytest.fixture(scope='module', params=CONFIGS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights and its graphs."""
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    torch.manual_seed(0)
    save_propagation(build_propagation_network(CONFIGS[request.param]), path)
    export_parts(path, 'cpu')
    return path


@pytest.fixture(autouse=True)
def few_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 5500 crops of the published OTN would take minutes."""
    few = TrackingSettings(4, 4, 1, 1e-4, 2, 2, 1e-4, 4, 5, 1)
    monkeypatch.setattr('vis_ros.propagation.pts.propagator.PUBLISHED', few)


def _image(time: int) -> NDArray[np.uint8]:
    image = np.random.default_rng(time).integers(100, 140, (*SIZE, 3), np.uint8)
    for number in range(3):
        image[_mask(number, time)] = (60 * number, 250 - 90 * number, 20 + 110 * number)
    return image


def _mask(number: int, time: int = 0) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    left = 6 + 38 * number + 2 * time
    mask[10 + 20 * number : 45 + 20 * number, left : left + 30] = True
    return mask


def _started(weights: Path, engine: str) -> Propagator:
    config = read_propagation_config(weights)
    options = {'engine': engine, 'device': 'cpu', 'threads': 1, 'delayed': config.delayed}
    propagator = load_propagation_model(config.architecture, str(weights), **options).new()
    for number in range(2):
        propagator.start(number + 1, _image(0), _mask(number))
    return propagator


def test_openvino_propagates_as_torch_does(weights: Path) -> None:
    """Also an object that starts later, from another frame."""
    torch_one, openvino_one = (_started(weights, engine) for engine in ('torch', 'openvino'))
    for time in range(1, 4):
        expected, found = (each.step(_image(time), _image(time + 1)) for each in (torch_one, openvino_one))
        assert np.mean(np.abs(found - expected) > TOLERANCE) < 1e-3
        assert np.ptp(expected) > 0.05  # the network says something
        if time == 1:
            for propagator in (torch_one, openvino_one):
                propagator.start(3, _image(1), _mask(2, 1))


def test_graphs_of_other_weights_are_not_used(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = find_part_graphs(weights)
    assert {graph.parent for graph in own.values()} == {weights.parent}
    other = tmp_path / weights.name
    content = weights.read_bytes()
    other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for graph in own.values():
        (tmp_path / graph.name).write_bytes(graph.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('vis_ros.export.part_graphs.missing', lambda extra: ('onnx',))
        with pytest.raises(FileNotFoundError, match=r'cannot be exported here because onnx .* vis-ros export'):
            find_part_graphs(other)
    assert 'was exported from other weights' in caplog.text


@pytest.mark.parametrize('model', ['feelvos', 'maskrnn', 'rgmp', 'pts'])
def test_packaged_graphs_belong_to_the_packaged_weights(model: str) -> None:
    weights = propagation_weights(model)
    stored = read_propagation_config(weights)
    names = [(part, each.variant(stored)) for part in PROPAGATION_SYSTEMS[model].part_names for each in stored.variants]
    assert len(names) == {'feelvos': 10, 'pts': 4}.get(model, 2)
    for part, variant in names:
        graph = part_graph_path(weights, part, 'cpu', variant=variant)
        assert read_metadata_props(graph)[DIGEST_KEY] == sha256_of(weights), f'run: vis-ros export {model}'
        assert not any(
            each.HasField('raw_data') for each in onnx.load(graph, load_external_data=False).graph.initializer
        )


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_feelvos_matches_at_another_stride_with_the_same_weights(engine: str, tmp_path: Path) -> None:
    """As a file of that stride does, which has the same weights."""
    torch.manual_seed(0)
    network = build_propagation_network(CONFIGS['feelvos'])
    coarse, fine = tmp_path / 'coarse.safetensors', tmp_path / 'fine.safetensors'
    save_propagation(network, coarse)
    network.config = CONFIGS['feelvos'].with_fields(matching_stride=4, local_window=15)  # as published
    save_propagation(network, fine)
    export_parts(fine, 'cpu')
    options = {'engine': engine, 'device': 'cpu', 'threads': 1}
    models = [load_propagation_model('feelvos', str(path), **options) for path in (coarse, fine)]
    models.append(load_propagation_model('feelvos', str(coarse), matching_stride=4, **options))
    planes = []
    for model in models:
        propagator = model.new()
        propagator.start(1, _image(0), _mask(0))
        planes.append(propagator.step(_image(1)))
    np.testing.assert_allclose(planes[2], planes[1], atol=1e-6)
    assert np.abs(planes[2] - planes[0]).max() > 1e-3
    with pytest.raises(ValueError, match=r'matching_stride is 5, but must be one of 4, 8, 16, 32'):
        load_propagation_model('feelvos', str(coarse), matching_stride=5, **options)
    save_propagation(build_propagation_network(CONFIGS['rgmp']), coarse)
    with pytest.raises(ValueError, match='rgmp matches nothing'):
        load_propagation_model('rgmp', str(coarse), matching_stride=4, **options)


def test_the_packaged_detector_has_its_proposal_graph() -> None:
    weights = resolve('demo')
    assert find_proposal_graph(weights).parent == weights.parent, 'run: vis-ros export demo'


def test_auto_runs_in_torch_where_openvino_fails(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError('the processor is not supported')

    monkeypatch.setattr('vis_ros.engines.openvino.openvino_parts.OpenVinoParts', fail)
    assert load_propagation_model('feelvos', device='cpu').engine.startswith('torch')
    assert 'feelvos does not run in OpenVINO and runs in torch: the processor is not supported' in caplog.text
    with pytest.raises(ValueError, match='not supported'):
        load_propagation_model('feelvos', device='cpu', engine='openvino')


def test_the_parts_are_those_that_the_system_names() -> None:
    for name in ('feelvos', 'maskrnn', 'rgmp', 'pts'):
        system = PROPAGATION_SYSTEMS[name]
        assert tuple(system.parts(build_propagation_network(CONFIGS[name]))) == system.part_names


def test_pts_needs_torch_only_to_fine_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'pts.safetensors'
    save_propagation(build_propagation_network(CONFIGS['pts']), path)
    assert load_propagation_model('pts', str(path), device='cpu').engine.startswith('OpenVINO')
    tuned = load_propagation_model('pts', str(path), device='cpu', fine_tune_steps=1)
    assert tuned.engine.startswith('torch')
    with pytest.raises(ValueError, match='OpenVINO cannot fine-tune: set engine to auto or torch, or fine_tune_steps'):
        load_propagation_model('pts', str(path), engine='openvino', device='cpu', fine_tune_steps=1)
    monkeypatch.setattr('vis_ros.extras.find_spec', lambda name: None if name == 'torch' else name)
    with pytest.raises(ValueError, match='fine-tuning, which fine_tune_steps asks for, needs torch'):
        load_propagation_model('pts', str(path), device='cpu', fine_tune_steps=1)
    assert load_propagation_model('pts', str(path), device='cpu').engine.startswith('OpenVINO')


WITHOUT_TORCH = """
import sys
sys.modules['torch'] = None
import numpy as np
from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
mask = np.zeros((96, 128), bool)
mask[30:60, 40:80] = True
for name in PROPAGATION_SYSTEMS:
    model = load_propagation_model(name, device='cpu', threads=1)
    propagator = model.new()
    propagator.start(1, image, mask)
    print(name, model.engine.split()[0], propagator.step(image).shape)
"""


def test_every_system_runs_without_torch() -> None:
    """With the packaged weights and graphs."""
    result = subprocess.run([sys.executable, '-c', WITHOUT_TORCH], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f'{name} OpenVINO (2, 96, 128)' for name in PROPAGATION_SYSTEMS]


def test_proposals_of_openvino_are_those_of_torch(tmp_path: Path) -> None:
    """At two image sizes, of a detector that is not packaged."""
    torch.manual_seed(0)
    detector = MaskRCNN(ModelConfig('tiny', ('thing',), 'mask_rcnn', backbone='resnet18', fpn_channels=16)).eval()
    save_model(detector, tmp_path / 'mine.safetensors')
    save_propagation(build_propagation_network(CONFIGS['pts']), tmp_path / 'pts.safetensors')
    options = {'detector': str(tmp_path / 'mine.safetensors'), 'device': 'cpu', 'threads': 1}
    torch_one, openvino_one = (
        load_propagation_model('pts', str(tmp_path / 'pts.safetensors'), engine=engine, **options).new()._proposals
        for engine in ('torch', 'openvino')
    )
    for image in (_image(0), _image(1)[:64, :96]):
        expected, found = torch_one(image), openvino_one(image)
        assert len(expected) > 20
        near = np.abs(found[:, None] - expected).max(2).min(0) < 0.05
        assert near.mean() > 0.97, 'ties may be in another order'


def test_tensorrt_builds_every_part(weights: Path, tmp_path: Path) -> None:
    """For a GPU that this machine does not have; nothing is run."""
    pytest.importorskip('tensorrt_rtx_bindings')
    if getattr(read_propagation_config(weights), 'matching_stride', 8) != 8:
        return  # the same operations with other sizes
    for name, graph in export_parts(weights, 'gpu', out=tmp_path).items():
        build_plan(graph, tmp_path / 'plan', BuildTarget('tensorrt_rtx', (8, 6)))
        assert (tmp_path / 'plan').stat().st_size > 10_000, name


class Disturbed:
    """The parts of a network whose masks are shifted by `pixels`."""

    def __init__(self, parts: NetworkParts, pixels: int) -> None:
        self._parts, self._pixels, self.config = parts, pixels, parts.config

    def run(self, part: str, *inputs: NDArray[Any], any_size: bool = False) -> tuple[NDArray[Any], ...]:
        first, *others = self._parts.run(part, *inputs, any_size=any_size)
        return (np.roll(first, self._pixels, -1) if part == 'segment' else first, *others)

    def weights(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        return self._parts.weights(prefix)


def test_a_precision_that_moves_the_masks_is_refused() -> None:
    exact = load_propagation_model('feelvos', device='cpu')._parts
    check_propagation(Disturbed(exact, 0), exact, 'bf16')
    with pytest.raises(InaccurateEngineError, match=r'feelvos in bf16: .* an IoU of only 0\.\d\d.* set accuracy_check'):
        check_propagation(Disturbed(exact, 6), exact, 'bf16')


@pytest.mark.skipif(not HAS_BF16, reason='this processor does not compute in bf16')
@pytest.mark.parametrize('model', PROPAGATION_SYSTEMS)
def test_bf16_keeps_the_masks_of_the_packaged_weights(model: str) -> None:
    loaded = load_propagation_model(model, device='cpu', precision='bf16', threads=1)
    assert loaded.engine.endswith('fp32' if model == 'pts' else 'bf16'), 'pts loses objects in bf16'
    assert load_propagation_model(model, device='cpu', precision='fp16').engine.endswith('fp32')


@pytest.mark.parametrize('stride', [4, 16])
def test_roi_max_pool_is_that_of_torchvision(stride: int) -> None:
    torch.manual_seed(0)
    features = torch.rand(40, 3, 12, 20)
    corners = torch.rand(40, 2) * torch.tensor([20.0, 12]) * stride
    boxes = torch.cat((corners, corners + torch.rand(40, 2) * 9 * stride), 1)
    rois = torch.cat((torch.arange(40.0)[:, None], boxes), 1)
    torch.testing.assert_close(roi_max_pool(features, boxes, 7, stride), roi_pool(features, rois, 7, 1 / stride))


@pytest.mark.parametrize('stride', [8, 16])
def test_sampled_roi_align_is_that_of_torchvision(stride: int) -> None:
    """Also for boxes that reach beyond the image, by less and by more than a cell."""
    torch.manual_seed(0)
    features = torch.randn(1, 5, 9, 13)
    corners = (torch.rand(200, 2) * 1.4 - 0.2) * torch.tensor([13.0, 9]) * stride
    boxes = torch.cat((corners, corners + 1 + torch.rand(200, 2) * 6 * stride), 1)
    expected = roi_align(features, [boxes], 3, 1 / stride, 2, True)
    torch.testing.assert_close(sampled_roi_align(features, boxes, 3, stride), expected, atol=1e-4, rtol=1e-4)


def test_the_command_writes_the_proposal_graph_of_a_detector(tmp_path: Path) -> None:
    detector = MaskRCNN(ModelConfig('tiny', ('thing',), 'mask_rcnn', backbone='resnet18', fpn_channels=16)).eval()
    save_model(detector, tmp_path / 'mine.safetensors')
    export_command(str(tmp_path / 'mine.safetensors'), engine='openvino')
    assert find_proposal_graph(tmp_path / 'mine.safetensors').parent == tmp_path


def test_the_command_writes_the_graphs_of_a_propagation_network(tmp_path: Path) -> None:
    path = tmp_path / 'tiny.safetensors'
    save_propagation(build_propagation_network(CONFIGS['rgmp']), path)
    export_command(str(path), engine='onnx', size='64x64')
    for part in ('reference', 'segment'):
        assert part_graph_path(path, part, 'gpu', (64, 64)).is_file()
    with pytest.raises(ValueError, match=r'one object at a time: --precision, --batch is for detectors'):
        export_command(str(path), precision='fp16', batch=4)
    with pytest.raises(ValueError, match='those for OpenVINO accept any size'):
        export_command(str(path), size='64x64')
    with pytest.raises(ValueError, match='not run in TensorRT yet'):
        export_command(str(path), engine='tensorrt')
