"""TorchEngine: results do not depend on the batch, arguments are applied, and errors are reported."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.engines import torch_engine
from numpy.typing import NDArray
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from vis_ros.engines.loading import load_engine
from vis_ros.engines.torch.torch_engine import TorchEngine, preprocess
from vis_ros.instances import Instances
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import load_model, save_model

torch.set_num_threads(1)  # several threads on a busy machine wait for each other more than they compute

CONFIG = ModelConfig(
    name='small',
    class_names=('a', 'b', 'c'),
    input_height=96,
    input_width=160,
    backbone='resnet18',
    proposals_before_nms=50,
    proposals=80,
    fpn_channels=16,
    box_head_channels=32,
    mask_channels=8,
    embedding_size=24,
    score_threshold=0.1,
    max_detections=12,
)


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights, whose outputs differ between boxes."""
    torch.manual_seed(5)
    network = build_network(CONFIG)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.running_var.uniform_(0.5, 2)
                module.bias.normal_(0, 0.2)
        network.rpn.head.cls_logits.weight.mul_(100)
        network.roi_heads.box_predictor.cls_score.weight.mul_(10)
        network.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(0.5)
    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_model(network, path, torch.float32)
    return path


@pytest.fixture(scope='module')
def engine(weights: Path) -> TorchEngine:
    return torch_engine(weights)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """An image (height, width, 3) uint8 of colored blobs."""
    spots = np.random.default_rng(seed).integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC))


def assert_equal(found: Instances, expected: Instances) -> None:
    assert found.image_size == expected.image_size
    assert len(found) == len(expected)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.embeddings is not None and expected.embeddings is not None
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-4)
    for mine, other in zip(found.masks, expected.masks, strict=True):
        assert mine.shape == other.shape
        assert np.count_nonzero(mine != other) <= 2


@pytest.mark.parametrize('resize', ['uint8', 'float'])
def test_a_batch_of_different_sizes_equals_one_by_one(weights: Path, resize: str) -> None:
    network = load_model(weights)
    # torchvision's anchors depend on the padded size, so they show best whether an image is padded for another's sake
    network.config = CONFIG.with_fields(resize=resize, anchor_strides_from_grid=resize == 'float')
    small = TorchEngine.of_network(network)
    images = [noise(96, 160), noise(60, 31, 1), noise(240, 200, 2), noise(90, 160, 3), noise(60, 31, 4)]
    together = small.infer(images)
    assert all(len(found) > 3 for found in together)
    for image, found in zip(images, together, strict=True):
        assert_equal(found, small.infer([image])[0])
    assert not np.array_equal(together[1].boxes, together[4].boxes)


def test_an_empty_batch(engine: TorchEngine) -> None:
    assert engine.infer([]) == []


def test_instances_lie_in_the_source_image(engine: TorchEngine) -> None:
    image = noise(333, 517)
    (found,) = engine.infer([image])
    assert found.image_size == (333, 517)
    assert 0 < len(found) <= 12
    assert found.boxes.min() >= 0
    assert (found.boxes[:, 2:] <= [517, 333]).all()
    assert (found.boxes[:, 2:] > 300).any(), 'boxes are in pixels of the source, not of the network'
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores > 0.1).all()
    assert set(found.class_ids) <= {0, 1, 2}
    assert found.embeddings is not None
    assert found.embeddings.shape == (len(found), 24)
    assert sum(found.areas()) > 0
    for roi, box in zip(found.rois, found.boxes, strict=True):
        np.testing.assert_allclose(roi, box, atol=1)


def test_the_same_image_gives_the_same_bytes(engine: TorchEngine, weights: Path) -> None:
    image = noise(120, 160)
    first, again = engine.infer([image])[0], torch_engine(weights).infer([image])[0]
    for name in ('boxes', 'scores', 'class_ids', 'rois', 'embeddings'):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.masks, again.masks, strict=True))


@pytest.mark.parametrize('resize', ['uint8', 'float'])
@pytest.mark.parametrize('size', [(1, 1), (7, 500), (500, 7), (1, 3000), (2, 1)])
def test_tiny_and_thin_images(engine: TorchEngine, size: tuple[int, int], resize: str) -> None:
    engine = TorchEngine.of_network(engine.network)
    engine.config = CONFIG.with_fields(resize=resize)
    (found,) = engine.infer([noise(*size)])
    assert found.image_size == size
    assert (found.boxes[:, 2:] <= size[::-1]).all()


def test_a_gray_image_in_three_channels(engine: TorchEngine) -> None:
    gray = noise(96, 160)[..., 0]
    assert len(engine.infer([np.repeat(gray[..., None], 3, 2)])[0]) > 0


@pytest.mark.parametrize(
    ('image', 'described'),
    [
        (np.zeros((48, 64), np.uint8), r'\(48, 64\) uint8'),
        (np.zeros((48, 64, 4), np.uint8), r'\(48, 64, 4\) uint8'),
        (np.zeros((48, 64, 3), np.float32), r'\(48, 64, 3\) float32'),
        (np.zeros((0, 64, 3), np.uint8), r'\(0, 64, 3\) uint8'),
    ],
)
def test_an_invalid_image_is_rejected_with_its_shape(
    engine: TorchEngine, image: NDArray[np.uint8], described: str
) -> None:
    with pytest.raises(ValueError, match=rf'\(height, width, 3\) uint8 BGR and not empty, got {described}'):
        engine.infer([image])


def test_an_image_need_not_be_contiguous(engine: TorchEngine) -> None:
    image = noise(96, 160)
    mirrored = image[:, ::-1]
    assert_equal(engine.infer([mirrored])[0], engine.infer([mirrored.copy()])[0])


# --- input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        ((720, 1280), (360, 640)),
        ((480, 854), (360, 640)),  # 359.7
        ((1280, 720), (640, 360)),  # the limits are for the longer and the shorter side
        ((500, 375), (480, 360)),
        ((100, 100), (360, 360)),
        ((3, 1000), (2, 640)),  # 1.92
    ],
)
def test_input_limits_apply_to_the_longer_and_the_shorter_side(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    config = CONFIG.with_fields(input_height=360, input_width=640)
    tensor, scale = preprocess(noise(*size), config)
    assert tuple(tensor.shape) == (3, *expected)
    assert scale == (expected[1] / size[1], expected[0] / size[0])


def test_pixels_are_rgb_and_normalized() -> None:
    image = np.zeros((96, 160, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10, 20, 30  # blue, green, red
    tensor, _ = preprocess(image, CONFIG.with_fields(mean=(30.0, 16.0, 0.0), std=(1.0, 2.0, 5.0)))
    assert tensor[:, 50, 70].tolist() == [0, 2, 2]


def test_mmdetection_0_uses_one_factor_for_both_axes() -> None:
    config = CONFIG.with_fields(input_height=360, input_width=640, legacy_boxes=True, mask_paste='mmcv')
    tensor, scale = preprocess(noise(480, 854), config)
    assert tuple(tensor.shape) == (3, 360, 640)
    assert scale == (640 / 854, 640 / 854)


def test_inclusive_boxes_are_converted_to_exclusive_ones(weights: Path) -> None:
    """A network that detects a box of the pixels 10 to 19, which is twice as large in the source image."""
    network = build_network(CONFIG.with_fields(legacy_boxes=True, mask_paste='mmcv')).eval()
    box = torch.tensor([[10.0, 20, 19, 29], [10, 20, 159, 95]])

    def find(features: object, proposals: object, sizes: object, scales: object) -> list[object]:
        from vis_ros.networks.mask_rcnn import RawDetections

        return [RawDetections(box, torch.tensor([0.9, 0.8]), torch.tensor([1, 2]))]

    network.detect = find  # type: ignore[assignment,method-assign]
    network.masks = lambda features, detections: torch.ones(2, 28, 28)  # type: ignore[assignment,method-assign]
    (found,) = TorchEngine.of_network(network).infer([noise(192, 320)])
    # the last pixel of the source is 19 * 2 = 38 by mmdet's rule, so the box ends at 39; it never leaves the image
    assert found.boxes.tolist() == [[20, 40, 39, 59], [20, 40, 319, 191]]
    assert found.rois.tolist() == [[20, 40, 39, 59], [20, 40, 319, 191]]
    assert [mask.all() for mask in found.masks] == [True, True]


# --- arguments ------------------------------------------------------------------------------------------------------


def test_the_caller_sets_the_score_threshold(engine: TorchEngine, weights: Path) -> None:
    image = noise(96, 160)
    (everything,) = torch_engine(weights, max_detections=1000).infer([image])
    middle = float(np.median(everything.scores))
    (found,) = torch_engine(weights, max_detections=1000, score_threshold=middle).infer([image])
    assert 0 < len(found) < len(everything)
    assert_equal(found, everything[everything.scores > middle])


def test_the_caller_sets_the_maximum_of_detections(engine: TorchEngine, weights: Path) -> None:
    image = noise(96, 160)
    (usual,) = engine.infer([image])
    (found,) = torch_engine(weights, max_detections=3).infer([image])
    assert len(usual) == 12
    assert_equal(found, usual[:3])


def test_the_caller_sets_the_input_size(weights: Path) -> None:
    small = torch_engine(weights, input_size=(64, 128))
    assert small.input_size == small.describe().input_size == (64, 128)
    sizes = []
    small.network.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    small.infer([noise(480, 640)])
    assert sizes == [(1, 3, 64, 96)]  # 64 x 85.3
    with pytest.raises(ValueError, match='input_size 0x128 has no pixels'):
        torch_engine(weights, input_size=(0, 128))


def test_the_track_head_can_be_ignored(weights: Path) -> None:
    plain = torch_engine(weights, model='mask_rcnn')
    (found,) = plain.infer([noise(96, 160)])
    assert found.embeddings is not None
    assert found.embeddings.shape == (12, 32)
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), CONFIG.embedding_scale**0.5, rtol=1e-5)
    with pytest.raises(ValueError, match='contains a masktrack_rcnn, not a feelvos'):
        torch_engine(weights, model='feelvos')


def test_cuda_without_a_gpu_is_rejected(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(
        ValueError, match=r"device 'cuda:0' was requested, but torch .* finds no CUDA GPU; use cpu or auto"
    ):
        torch_engine(weights, device='cuda:0')
    with pytest.raises(ValueError, match="device 'gpu' is not auto, cpu, cuda or cuda:N"):
        torch_engine(weights, device='gpu')
    assert torch_engine(weights, device='auto').device == torch.device('cpu')


def test_describe(engine: TorchEngine, weights: Path) -> None:
    info = engine.describe()
    assert info.engine == f'torch {torch.__version__}'
    assert info.device == f'cpu ({torch.get_num_threads()} threads)'
    assert info.precision == 'fp32'
    assert info.model == 'small'
    assert info.input_size == engine.input_size == (96, 160)
    assert info.parameters == sum(parameter.numel() for parameter in engine.network.parameters())
    assert engine.class_names == ('a', 'b', 'c')


def test_the_caller_sets_the_number_of_threads(weights: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert torch_engine(weights, threads=1).describe().device == 'cpu (1 threads)'
    finally:
        torch.set_num_threads(before)


def test_batch_norm_is_folded_in_a_loaded_network_only(engine: TorchEngine) -> None:
    def norms(network: nn.Module) -> int:
        return sum(isinstance(module, FrozenBatchNorm2d) for module in network.modules())

    network = build_network(CONFIG).eval()
    TorchEngine.of_network(network)
    assert (norms(engine.network), norms(network)) == (0, 20)


def test_warm_up_returns_milliseconds(engine: TorchEngine) -> None:
    assert 0 < engine.warm_up() < 60_000


def test_load_engine_by_name(weights: Path, tmp_path: Path) -> None:
    chosen = load_engine(weights, engine='torch', device='cpu', score_threshold=0.25, max_detections=2)
    (found,) = chosen.infer([noise(96, 160)])
    assert len(found) <= 2
    with pytest.raises(ValueError, match="engine 'abacus' is not one of auto, tensorrt, openvino, torch"):
        load_engine(weights, engine='abacus')
    with pytest.raises(FileNotFoundError, match='absent'):
        load_engine(tmp_path / 'absent.safetensors')
    broken = tmp_path / 'broken.safetensors'
    broken.write_bytes(b'no weights')
    with pytest.raises(ValueError, match=r'broken\.safetensors is not a \.safetensors file'):
        load_engine(broken)
