from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou as torch_box_iou

from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.object_tracking import PUBLISHED, ObjectTracker, OtnFrame, TrackingSettings
from vis_ros.propagation.pts.otn import Otn, normalized_map, vgg_m_convolutions

Floats = NDArray[np.float32]

SIZE = (120, 160)
BOX = np.array([40.0, 30.0, 80.0, 60.0], np.float32)
FEATURES = 16


def box_iou(boxes: Floats, others: Floats) -> Floats:
    return torch_box_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()


def _layers(channels: int, seed: int = 0) -> dict[str, Floats]:
    """Untrained weights of the size that torch gives them."""
    random = np.random.default_rng(seed)
    shapes = {'fc4': (channels, FEATURES), 'fc5': (channels, channels), 'fc6': (2, channels)}
    weights = {}
    for layer, shape in shapes.items():
        bound = shape[1] ** -0.5
        weights[f'{layer}.weight'] = random.uniform(-bound, bound, shape).astype(np.float32)
        weights[f'{layer}.bias'] = random.uniform(-bound, bound, shape[0]).astype(np.float32)
    return weights


def _otn_frame(box: Floats, angle: float = 0.0, shown: bool = True) -> OtnFrame:
    """A frame with the object at `box`. Two features rotate by `angle` from object to noise, with the IoU of a box."""

    def features(boxes: Floats) -> Floats:
        share = box_iou(box[None], boxes)[0] * shown
        noise = np.random.default_rng(0).standard_normal((len(boxes), FEATURES), np.float32) * np.float32(0.1)
        noise[:, 0] += (2 * share - 1) * np.cos(angle)
        noise[:, 1] += (2 * share - 1) * np.sin(angle)
        return noise * 5

    return OtnFrame(SIZE, np.zeros((0, 4), np.float32), features)


def _tracker(settings: TrackingSettings | None = None) -> ObjectTracker:
    return ObjectTracker(_layers(32), BOX, _otn_frame(BOX), settings)


def _samples(tracker: ObjectTracker, frame: OtnFrame) -> tuple[Floats, Floats]:
    """Scores of boxes on the object and of boxes elsewhere."""
    random = np.random.default_rng(1)
    boxes = random.random((4000, 4), np.float32) * np.array([160, 120, 160, 120], np.float32)
    boxes = np.hstack((np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:]) + 1))
    boxes = np.concatenate((boxes, tracker.box + random.standard_normal((200, 4), np.float32) * 3))
    iou = box_iou(tracker.box[None], boxes)[0]
    on, off = (tracker.scores(frame.features(boxes[chosen])) for chosen in (iou > 0.75, iou < 0.25))
    return on, off


def _track(tracker: ObjectTracker, frame: OtnFrame) -> bool:
    found = tracker.find(frame)
    tracker.learn(frame)
    return found


# the network ------------------------------------------------------------------------------------------------------


def test_vgg_m_gives_4608_features_of_a_crop() -> None:
    network = vgg_m_convolutions().eval()
    assert network(torch.randn(2, 3, 107, 107)).shape == (2, 512, 3, 3)
    shapes = [tuple(each.weight.shape) for each in network if isinstance(each, torch.nn.Conv2d)]
    assert shapes == [(96, 3, 7, 7), (256, 96, 5, 5), (512, 256, 3, 3)]


def test_the_response_normalization_is_the_formula() -> None:
    norm = vgg_m_convolutions()[2]
    x = torch.rand(1, 9, 2, 2) * 30
    around = [x[:, max(c - 2, 0) : c + 3].square().sum(1) for c in range(9)]
    expected = x / (2 + 1e-4 / 5 * torch.stack(around, 1)) ** 0.75
    torch.testing.assert_close(norm(x), expected)


def test_the_published_form_has_the_published_layers() -> None:
    otn = Otn(PtsConfig('published', otn_features='vgg_m', otn_channels=512), [])
    layers = [tuple(each.weight.shape) for each in (otn.classifier.fc4, otn.classifier.fc5, otn.classifier.fc6)]
    assert layers == [(512, 4608), (512, 512), (2, 512)]
    assert not any(each.requires_grad for each in otn.parameters())


def test_a_crop_has_sixteen_pixels_of_context_of_107() -> None:
    otn = Otn(PtsConfig('published', otn_features='vgg_m'), [])
    seen = []
    otn.convolutions = torch.nn.Sequential(torch.nn.Identity())
    otn.convolutions.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    # A region of 107 x 107 pixels around a box of 75 * 107 / 107: the box of 107 / (1 + 32 / 107) pixels.
    side = 107 / (1 + 32 / 107)
    image = torch.randn(1, 3, 160, 160)
    otn.box_features([image], torch.tensor([[80 - side / 2, 80 - side / 2, 80 + side / 2, 80 + side / 2]]))
    y = 80 - 107 // 2
    # The region starts at half a pixel, so each pixel of the crop is a mean of four.
    four = image[0, :, y - 1 : y + 107, y - 1 : y + 107]
    expected = (four[:, 1:, 1:] + four[:, 1:, :-1] + four[:, :-1, 1:] + four[:, :-1, :-1]) / 4
    torch.testing.assert_close(seen[0][0], expected, atol=1e-3, rtol=0)


def test_features_of_the_backbone_are_those_under_the_box() -> None:
    otn = Otn(PtsConfig('light'), [2, 3])
    maps = [torch.zeros(1, 2, 16, 24), torch.zeros(1, 3, 8, 12)]
    maps[0][:, 0, :, :12], maps[0][:, 1, :, 12:] = 1, 1
    maps[1][:, 0, :, :6], maps[1][:, 2, :, 6:] = 1, 1
    left, right = otn.box_features(
        [normalized_map(each) for each in maps], torch.tensor([[10.0, 20, 60, 90], [120.0, 20, 170, 90]])
    ).unflatten(1, (5, 9))
    # Each cell has mean 0 and variance 1 over its channels: (1, 0) is (1, -1), (1, 0, 0) is (2, -1, -1) / sqrt(2).
    wide, narrow = 2**0.5, -(0.5**0.5)
    torch.testing.assert_close(left.mean(1), torch.tensor([1, -1, wide, narrow, narrow]), atol=1e-3, rtol=0)
    torch.testing.assert_close(right.mean(1), torch.tensor([-1, 1, narrow, narrow, wide]), atol=1e-3, rtol=0)


def test_unknown_features_are_rejected() -> None:
    with pytest.raises(ValueError, match="'vgg_s' is not one of backbone, vgg_m"):
        Otn(PtsConfig('wrong', otn_features='vgg_s'), [])


# training -----------------------------------------------------------------------------------------------------


def test_after_the_first_frame_the_object_is_separated_from_the_rest() -> None:
    on, off = _samples(_tracker(), _otn_frame(BOX))
    assert len(on) > 20
    assert len(off) > 1000
    assert (on > 0).all()
    assert (off < 0).mean() > 0.99


def test_samples_have_the_overlaps_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Floats] = []
    frame = _otn_frame(BOX)
    settings = TrackingSettings()

    def recorded(boxes: Floats) -> Floats:
        seen.append(boxes)
        return frame.features(boxes)

    proposals = np.array([[41, 30, 81, 60], [0, 0, 20, 20], [60, 30, 90, 60]], np.float32)
    ObjectTracker(_layers(8), BOX, OtnFrame(SIZE, proposals, recorded), settings)
    overlap = box_iou(BOX[None], seen[0])[0]
    on, off = overlap[: settings.first_positives], overlap[settings.first_positives :]
    assert (on >= 0.7).all()
    assert (off <= 0.3).all()
    assert len(off) == settings.first_negatives
    rows = {tuple(row) for row in seen[0].tolist()}
    assert tuple(proposals[0].tolist()) in rows
    assert tuple(proposals[2].tolist()) not in rows
    assert (seen[0][:, :2] >= 0).all() and (seen[0][:, 2:] <= (160, 120)).all()


def test_the_object_is_followed() -> None:
    tracker = _tracker()
    box = BOX
    for step in range(1, 8):
        box = BOX + np.float32([6, 3, 6, 3]) * step
        assert _track(tracker, _otn_frame(box))
    assert box_iou(tracker.box[None], box[None]).item() > 0.6


def test_long_term_updates_follow_a_drift_of_the_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def last_score(long_term: bool) -> float:
        tracker = _tracker()
        update = tracker._update
        monkeypatch.setattr(
            tracker, '_update', lambda frames, steps: update(frames, steps) if frames == 20 and long_term else None
        )
        near = BOX + np.arange(6, dtype=np.float32)[:, None] / 2
        for step in range(1, 121):
            frame = replace(_otn_frame(BOX, angle=step / 120 * np.pi * 0.7), proposals=near)
            _track(tracker, frame)
            tracker.move(BOX)
        return tracker.scores(frame.features(BOX[None])).item()

    assert last_score(True) > 1
    assert last_score(False) < 0


def test_the_box_of_the_mask_replaces_a_box_that_it_overlaps() -> None:
    tracker = _tracker()
    assert tracker.find(_otn_frame(BOX))
    before = tracker.box
    tracker.refine(BOX + np.float32([60, 0, 60, 0]))
    assert (tracker.box == before).all()
    tracker.refine(BOX + np.float32([10, 0, 10, 0]))
    assert (tracker.box == BOX + np.float32([10, 0, 10, 0])).all()
    assert not tracker.find(_otn_frame(BOX, shown=False))
    tracker.refine(BOX)
    assert (tracker.box == BOX + np.float32([10, 0, 10, 0])).all()


def test_the_box_is_the_mean_of_the_five_best(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    proposals = BOX + np.arange(8, dtype=np.float32)[:, None] * np.float32([1, 0, 1, 0])
    scores = np.float32([0.5, 3, -1, 2, 7, 1, 0, 4])
    monkeypatch.setattr(tracker, 'scores', lambda features: scores)
    assert _track(tracker, replace(_otn_frame(BOX), proposals=proposals))
    assert tracker.score == pytest.approx((3 + 2 + 7 + 1 + 4) / 5)
    shift = (1 + 3 + 4 + 5 + 7) / 5
    np.testing.assert_allclose(tracker.box, BOX + np.float32([shift, 0, shift, 0]), rtol=1e-6)


def _candidates(tracker: ObjectTracker, monkeypatch: pytest.MonkeyPatch, score: float, proposals: Floats) -> Floats:
    tracker.score = score
    seen: list[Floats] = []

    def recorded(boxes: Floats) -> Floats:
        seen.append(boxes)
        return np.zeros((len(boxes), FEATURES), np.float32)

    monkeypatch.setattr(tracker, 'scores', lambda features: -np.ones(len(features), np.float32))
    monkeypatch.setattr(tracker, '_update', lambda frames, steps: None)
    assert not _track(tracker, OtnFrame(SIZE, proposals, recorded))
    return seen[0]


def test_proposals_near_the_last_box_are_tried_and_farther_ones_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = _tracker()
    shifts = np.float32([0, 2, 4, 6, 8, 10, 16, 20, 24, 28, 32, 36])  # IoU (40 - d) / (40 + d)
    proposals = BOX + shifts[:, None] * np.float32([1, 0, 1, 0])
    overlaps = (40 - shifts) / (40 + shifts)
    for score, limit in ((1.0, 0.5), (-1.0, 0.2)):
        np.testing.assert_array_equal(_candidates(tracker, monkeypatch, score, proposals), proposals[overlaps > limit])


@pytest.mark.parametrize('given', [0, 3])
def test_too_few_proposals_are_filled_up_with_boxes_around_the_last(
    given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = _candidates(_tracker(), monkeypatch, 1.0, np.tile(BOX + 1, (given, 1)))
    assert len(boxes) == given + 1 + TrackingSettings().candidates
    center = (boxes[:, 2:] + boxes[:, :2]) / 2
    assert np.abs(center - (60, 45)).max() < 0.6 * 35 + 1


def test_a_lost_object_keeps_its_box_and_trains_on_the_last_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    updates: list[tuple[int, int]] = []
    monkeypatch.setattr(tracker, '_update', lambda frames, steps: updates.append((frames, steps)))
    assert not _track(tracker, _otn_frame(BOX, shown=False))
    assert (tracker.box == BOX).all()
    assert updates == [(5, 10)]
    _track(tracker, _otn_frame(BOX))
    assert updates == [(5, 10)]


def test_long_term_updates_come_every_tenth_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    updates: list[tuple[int, int]] = []
    for frame in range(1, 31):
        monkeypatch.setattr(tracker, '_update', lambda frames, steps, at=frame: updates.append((at, frames)))
        _track(tracker, _otn_frame(BOX))
    assert updates == [(10, 20), (20, 20), (30, 20)]


def test_the_sample_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    monkeypatch.setattr(tracker, '_update', lambda frames, steps: None)
    for _ in range(110):
        assert _track(tracker, _otn_frame(BOX))
    settings = TrackingSettings()
    assert [len(each) for each in tracker._positives] == [settings.positives] * 100
    assert [len(each) for each in tracker._negatives] == [settings.negatives] * 20


def test_only_the_hardest_negatives_count(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    seen: list[tuple[Floats, Floats]] = []
    negatives = np.random.default_rng(2).standard_normal((200, FEATURES), np.float32)
    hard = negatives[np.argsort(tracker.scores(negatives))[-96:]]
    monkeypatch.setattr(tracker._classifier, 'train', lambda on, off, rate: seen.append((on, off)))
    tracker._learn(np.ones((40, FEATURES), np.float32), negatives, 1, 0.0)
    ((on, off),) = seen
    assert (len(on), len(off)) == (32, 96)
    assert {tuple(row) for row in off.tolist()} == {tuple(row) for row in hard.tolist()}


def test_training_one_object_changes_neither_others_nor_the_initial_weights() -> None:
    start = _layers(32)
    first, second = (ObjectTracker(start, BOX, _otn_frame(BOX)) for _ in range(2))
    features = np.random.default_rng(1).standard_normal((5, FEATURES), np.float32)
    assert (first.scores(features) == second.scores(features)).all()
    for name, value in _layers(32).items():
        assert (start[name] == value).all()


def test_an_object_as_large_as_the_frame_has_no_negatives() -> None:
    box = np.float32([0, 0, 160, 120])
    tracker = ObjectTracker(_layers(8), box, _otn_frame(box))
    _track(tracker, _otn_frame(box))
    assert box_iou(tracker.box[None], box[None]).item() > 0.7


def test_the_published_settings_are_those_of_the_released_code() -> None:
    assert (
        TrackingSettings(
            first_positives=500,
            first_negatives=5000,
            first_steps=30,
            first_rate=1e-4,
            positives=50,
            negatives=200,
            rate=2e-4,
            mined=1024,
            candidates=5,
            long_term_steps=15,
        )
        == PUBLISHED
    )
