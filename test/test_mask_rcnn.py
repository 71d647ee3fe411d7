"""MaskRCNN compared with torchvision's model, stage by stage and end to end; other conventions against formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from vis_ros.engines.torch.torch_engine import TorchEngine, preprocess
from vis_ros.networks.checkpoint_layouts import LAYOUTS
from vis_ros.networks.checkpoints import network_of_checkpoint
from vis_ros.networks.mask_rcnn import MaskRCNN, RawDetections
from vis_ros.networks.masktrack_rcnn import build_network, track_logits
from vis_ros.networks.model_config import ModelConfig

torch.set_num_threads(1)  # several threads on a busy machine wait for each other more than they compute

MIN_SIZE, MAX_SIZE = 100, 170
PROPOSALS, DETECTIONS = 80, 24
SIZES = [(90, 121), (300, 211), (60, 333)]
"""(height, width) of images that are enlarged, reduced, and limited by their longer side. None is padded to multiples
of 64 on both sides."""


@pytest.fixture(scope='module')
def theirs() -> TorchvisionMaskRCNN:
    """Torchvision's Mask R-CNN with random weights that detect objects of every class, and a nontrivial batch norm."""
    torch.manual_seed(3)
    backbone = resnet_fpn_backbone(backbone_name='resnet18', weights=None)
    model = TorchvisionMaskRCNN(
        backbone,
        6,
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
        rpn_pre_nms_top_n_test=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_detections_per_img=DETECTIONS,
    ).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.8, 1.2)
                module.bias.normal_(0, 0.1)
                module.eps = 0.0
        _spread_outputs(model)
    return model


def _spread_outputs(model: TorchvisionMaskRCNN) -> None:
    """Scale and shift the last layers so that scores, deltas and masks differ between boxes."""
    images = torch.randn(1, 3, MIN_SIZE, MAX_SIZE // 32 * 32)
    features = model.backbone(images)
    logits, deltas = model.rpn.head(list(features.values()))
    _standardize(model.rpn.head.cls_logits, torch.cat([level.flatten(2) for level in logits], 2)[0].T, 2)
    _standardize(model.rpn.head.bbox_pred, torch.cat([level.flatten(2) for level in deltas], 2)[0].T, 0.3)
    corners = torch.rand(100, 2) * 100
    boxes = torch.cat((corners, corners + 10 + torch.rand(100, 2) * 120), 1)
    heads, size = model.roi_heads, [(MIN_SIZE, images.shape[3])]
    hidden = heads.box_head(heads.box_roi_pool(features, [boxes], size))
    _standardize(heads.box_predictor.cls_score, heads.box_predictor.cls_score(hidden), 1.5)
    _standardize(heads.box_predictor.bbox_pred, heads.box_predictor.bbox_pred(hidden), 1)
    masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, [boxes], size)))
    _standardize(heads.mask_predictor.mask_fcn_logits, masks.permute(0, 2, 3, 1).flatten(0, 2), 3)


def _standardize(layer: nn.Linear | nn.Conv2d, outputs: Tensor, deviation: float) -> None:
    """Give every column of a layer's outputs (N, channels) mean 0 and the given standard deviation."""
    gain = deviation / outputs.std(0)
    layer.bias.sub_(outputs.mean(0)).mul_(gain)
    layer.weight.mul_(gain.reshape(-1, *[1] * (layer.weight.ndim - 1)))


@pytest.fixture(scope='module')
def ours(theirs: TorchvisionMaskRCNN) -> MaskRCNN:
    network = network_of_checkpoint(theirs.state_dict(), {}, 'auto', 'test')
    assert network.config.backbone == 'resnet18'
    assert network.config.batch_norm_eps == 0
    network.config = network.config.with_fields(
        input_height=MIN_SIZE,
        input_width=MAX_SIZE,
        proposals_before_nms=PROPOSALS,
        proposals=PROPOSALS,
        max_detections=DETECTIONS,
    )
    return network


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image (height, width, 3) uint8 with smooth colors, edges and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 40.0
    waves = np.stack([np.sin(x * k + y) + np.cos(y * (k + 1) - x) for k in (1, 2, 3)], -1)
    discs = (np.hypot(x % 2 - 1, y % 2 - 1) < 0.6)[..., None]
    return np.clip(waves * 50 + discs * 70 + 90 + rng.normal(0, 8, waves.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('size', SIZES)
def test_every_stage_equals_torchvision(theirs: TorchvisionMaskRCNN, ours: MaskRCNN, size: tuple[int, int]) -> None:
    image = photograph(*size)
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 255
    with torch.inference_mode():
        batch, _ = theirs.transform([rgb])
        inside = batch.image_sizes[0]
        tensor, _ = preprocess(image, ours.config)
        assert tensor.shape[1:] == inside
        # gray levels are resized before they are normalized, not after: a thousandth of one
        torch.testing.assert_close(tensor, batch.tensors[0, :, : inside[0], : inside[1]], rtol=0, atol=5e-5)

        # from here on both get the same input, so that nothing but the stage can make a difference
        their_features = theirs.backbone(batch.tensors)
        features = ours.features(batch.tensors)
        for mine, other in zip(features, their_features.values(), strict=True):
            assert torch.equal(mine, other)

        their_anchors = theirs.rpn.anchor_generator(batch, list(their_features.values()))[0]
        anchors = ours.anchors(features, tuple(batch.tensors.shape[2:]))
        assert torch.equal(torch.cat(anchors), their_anchors)

        their_proposals, _ = theirs.rpn(batch, their_features)
        proposals = ours.propose(*ours.rpn_outputs(features), anchors, [inside])
        torch.testing.assert_close(proposals, their_proposals, rtol=0, atol=1e-3)

        their_rois = theirs.roi_heads.box_roi_pool(their_features, their_proposals, [inside])
        assert torch.equal(ours.roi_align(features, their_proposals, 7), their_rois)

        their_detections, _ = theirs.roi_heads(their_features, their_proposals, [inside])
        found = ours.detect(features, their_proposals, [inside], [(1.0, 1.0)])
        assert len(found[0].boxes) > 20
        assert torch.equal(found[0].labels, their_detections[0]['labels'])
        torch.testing.assert_close(found[0].boxes, their_detections[0]['boxes'], rtol=0, atol=1e-3)
        torch.testing.assert_close(found[0].scores, their_detections[0]['scores'], rtol=0, atol=1e-6)

        same = [
            RawDetections(their_detections[0]['boxes'], their_detections[0]['scores'], their_detections[0]['labels'])
        ]
        torch.testing.assert_close(ours.masks(features, same), their_detections[0]['masks'][:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize('size', SIZES)
def test_whole_images_equal_torchvision(theirs: TorchvisionMaskRCNN, ours: MaskRCNN, size: tuple[int, int]) -> None:
    image = photograph(*size, seed=1)
    with torch.inference_mode():
        (expected,) = theirs([torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 255])
    (found,) = TorchEngine.of_network(ours).infer([image])
    assert len(found) == len(expected['boxes']) > 20
    # neighbors in the ranking whose scores differ by rounding may have changed places
    order = _match(found.boxes, found.class_ids, expected)
    assert len(set(order)) == len(found)
    np.testing.assert_allclose(found.scores, expected['scores'][order], atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected['boxes'][order], atol=0.02)
    masks = expected['masks'][order, 0].numpy() > 0.5
    wrong = sum(int((found.full_mask(index) != mask).sum()) for index, mask in enumerate(masks))
    assert masks.sum() > 1000
    assert wrong <= 1e-4 * masks.sum()


def _match(boxes: np.ndarray, class_ids: np.ndarray, expected: dict[str, Tensor]) -> list[int]:
    distances = np.abs(boxes[:, None] - expected['boxes'].numpy()[None]).max(-1)
    distances[class_ids[:, None] + 1 != expected['labels'].numpy()[None]] = np.inf
    return [int(row.argmin()) for row in distances]


# --- conventions by formula ------------------------------------------------------------------------------------------


def small(layout: str, **fields: object) -> MaskRCNN:
    """A small network with the conventions of a layout."""
    conventions = {**LAYOUTS[layout].conventions, 'backbone': 'resnet18', 'fpn_channels': 8, 'box_head_channels': 16}
    config = ModelConfig(name='test', class_names=('a', 'b'), mask_channels=8, embedding_size=16, **conventions)
    torch.manual_seed(0)
    return build_network(config.with_fields(**fields)).eval()


def roi_align_one(feature: np.ndarray, box: list[float], stride: int, layout: str, size: int) -> np.ndarray:
    """RoIAlign (He et al. 2017) of one box, computed sample by sample; (channels, size, size)."""
    x0, y0, x1, y1 = box
    if layout == 'official':
        x1, y1 = x1 + 1, y1 + 1
    shift = 0.5 if layout == 'mmdet' else 0.0
    x0, y0, x1, y1 = (value / stride - shift for value in (x0, y0, x1, y1))
    width, height = x1 - x0, y1 - y0
    if layout == 'torchvision':
        width, height = max(width, 1), max(height, 1)
    samples_x, samples_y = (math.ceil(width / size), math.ceil(height / size)) if layout == 'mmdet' else (2, 2)
    output = np.zeros((len(feature), size, size))
    for row in range(size):
        for column in range(size):
            values = [
                bilinear(
                    feature,
                    y0 + (row + (i + 0.5) / samples_y) * height / size,
                    x0 + (column + (j + 0.5) / samples_x) * width / size,
                )
                for i in range(samples_y)
                for j in range(samples_x)
            ]
            output[:, row, column] = np.mean(values, 0)
    return output


def bilinear(feature: np.ndarray, y: float, x: float) -> np.ndarray:
    rows, columns = feature.shape[1:]
    if y < -1 or y > rows or x < -1 or x > columns:
        return np.zeros(len(feature))
    y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    upper = feature[:, top, left] * (1 - x + left) + feature[:, top, right] * (x - left)
    lower = feature[:, bottom, left] * (1 - x + left) + feature[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_roi_align_equals_its_formula(layout: str) -> None:
    rng = np.random.default_rng(2)
    features = [rng.normal(size=(3, 256 // stride, 320 // stride)).astype(np.float32) for stride in (4, 8, 16, 32, 64)]
    boxes = [
        [10.3, 20.1, 70.9, 60.2],
        [100.0, 50.0, 102.0, 51.5],  # smaller than a cell
        [0.0, 0.0, 319.0, 255.0],
        [200.5, 30.2, 318.9, 160.0],
        [300.0, 240.0, 319.0, 255.0],
    ]
    network = small(layout)
    found = network.roi_align([torch.from_numpy(feature)[None] for feature in features], [torch.tensor(boxes)], 7)
    for box, pooled in zip(boxes, found, strict=True):
        one = 1 if layout == 'official' else 0
        sides = (box[2] - box[0] + one, box[3] - box[1] + one)
        level = min(max(math.floor(4 + math.log2(math.sqrt(sides[0] * sides[1]) / 224)), 2), 5) - 2
        expected = roi_align_one(features[level], box, 4 << level, layout, 7)
        np.testing.assert_allclose(pooled, expected, atol=1e-4)


@pytest.mark.parametrize('side', [111.9, 112.1, 223.9, 224.1, 447.9, 448.1, 1, 2000])
def test_the_level_of_a_box_follows_the_fpn_paper(side: float) -> None:
    network = small('mmdet')
    features = [
        torch.full((1, 1, 2048 // stride, 2048 // stride), float(level + 2))
        for level, stride in enumerate((4, 8, 16, 32, 64))
    ]
    found = network.roi_align(features, [torch.tensor([[10.0, 10, 10 + side, 10 + side]])], 1)
    assert found.item() == min(max(4 + math.floor(math.log2(side / 224)), 2), 5)


@pytest.mark.parametrize(('layout', 'kept'), [('mmdet', 2), ('official', 1)])
def test_inclusive_boxes_overlap_by_one_more_pixel(layout: str, kept: int) -> None:
    # 4 x 1 and 3 x 1 inclusive pixels: IoU 3 / 4; as continuous boxes without height: nothing in common
    boxes, scores = torch.tensor([[0.0, 0, 3, 0], [0, 0, 2, 0]]), torch.tensor([0.9, 0.8])
    found = small(layout)._nms(boxes, scores, torch.zeros(2, dtype=torch.int64), 0.7)
    assert len(found) == kept


def test_proposals_of_each_level_are_suppressed_separately() -> None:
    """With the same boxes on two levels, neither level suppresses those of the other."""
    network = small('mmdet', proposals_before_nms=3, proposals=5)
    boxes = torch.tensor([[0.0, 0, 40, 40], [1, 1, 40, 40], [60, 60, 90, 90], [0, 0, 5, 5]])
    logits = [torch.tensor([[3.0, 2.0, 1.0, -9.0]]), torch.tensor([[2.5, 0.5, 0.1, -9.0]])]
    deltas = [torch.zeros(1, 4, 4)] * 2
    (proposals,) = network.propose(logits, deltas, [boxes, boxes], [(80, 80)])
    # of each level the best three; 1 falls to 0 in the same level; the third is clipped to the image
    expected = [[0, 0, 40, 40], [0, 0, 40, 40], [60, 60, 80, 80], [60, 60, 80, 80]]
    assert proposals.tolist() == expected


def test_detections_are_sorted_thresholded_and_limited() -> None:
    network = small('mmdet', score_threshold=0.3, max_detections=2)
    boxes = torch.tensor([[0.0, 0, 40, 40], [1, 0, 40, 40], [60, 60, 90, 90], [100, 100, 140, 140], [10, 100, 40, 140]])
    #                       background, a, b
    chances = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.5, 0.1, 0.4]])
    found = network._detect_one(chances.log(), torch.zeros(5, 3, 4), boxes, (200, 200), (1.0, 1.0))
    assert found.labels.tolist() == [1, 1]
    assert found.boxes.tolist() == [boxes[0].tolist(), boxes[2].tolist()]
    everything = small('mmdet', score_threshold=0.05)._detect_one(
        chances.log(), torch.zeros(5, 3, 4), boxes, (200, 200), (1.0, 1.0)
    )
    # class by class: box 1 falls to box 0 in both classes or stands where it is the better one
    pairs = sorted(zip(everything.labels.tolist(), everything.boxes[:, 0].tolist(), strict=True))
    assert pairs == [(1, 0.0), (1, 10.0), (1, 60.0), (1, 100.0), (2, 1.0), (2, 10.0), (2, 60.0), (2, 100.0)]
    assert everything.scores.tolist() == sorted(everything.scores.tolist(), reverse=True)


def test_class_agnostic_scores_give_one_class_per_box() -> None:
    network = small('mmdet', class_agnostic_scores=True, box_class_agnostic=True, score_threshold=0.5)
    boxes = torch.tensor([[0.0, 0, 40, 40], [1, 0, 40, 40], [60, 60, 90, 90]])
    chances = torch.tensor([[0.1, 0.5, 0.4], [0.3, 0.1, 0.6], [0.2, 0.1, 0.7]])
    found = network._detect_one(chances.log(), torch.zeros(3, 1, 4), boxes, (200, 200), (1.0, 1.0))
    assert found.labels.tolist() == [1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8]))


def test_without_a_track_head_the_embedding_is_the_normalized_box_feature() -> None:
    network = small('mmdet', architecture='mask_rcnn')
    rois = torch.randn(4, 8, 7, 7)
    with torch.no_grad():
        found, hidden = network.embed(rois), network.roi_heads.box_head(rois)
    cosines = nn.functional.cosine_similarity(hidden[:, None], hidden[None], dim=2)
    torch.testing.assert_close(found @ found.T, network.config.embedding_scale * cosines)


@pytest.mark.parametrize('last_relu', [False, True])
def test_the_track_head_equals_two_layers(last_relu: bool) -> None:
    network = small('mmdet', embedding_last_relu=last_relu)
    rois = torch.randn(5, 8, 7, 7)
    first, second = network.track_head.fcs
    with torch.no_grad():
        hidden = (rois.reshape(5, -1).double() @ first.weight.double().T + first.bias).clamp(min=0)
        expected = hidden @ second.weight.double().T + second.bias
        found = network.embed(rois)
    assert (expected < 0).any()
    torch.testing.assert_close(found.double(), expected.clamp(min=0) if last_relu else expected, atol=1e-6, rtol=1e-5)


def test_track_logits_start_with_a_zero_column() -> None:
    """Yang et al. 2019, eq. 2: the softmax over [0, e_i . e_1, ..., e_i . e_N] is the probability of new, 1, ..., N."""
    embeddings, memory = torch.randn(3, 4), torch.randn(2, 4)
    chances = track_logits(embeddings, memory).softmax(1)
    for i, embedding in enumerate(embeddings.tolist()):
        powers = [math.exp(sum(a * b for a, b in zip(embedding, row, strict=True))) for row in memory.tolist()]
        np.testing.assert_allclose(
            chances[i], [1 / (1 + sum(powers)), *(p / (1 + sum(powers)) for p in powers)], rtol=1e-5
        )
    assert track_logits(embeddings, memory[:0]).tolist() == [[0.0]] * 3
