from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.object_tracking import PUBLISHED, ObjectTracker, OtnFrame, TrackingSettings
from vis_ros.propagation.pts.otn import Otn, OtnClassifier, vgg_m_convolutions

SIZE = (120, 160)
BOX = torch.tensor([40.0, 30.0, 80.0, 60.0])
FEATURES = 16


def _otn_frame(box: Tensor, angle: float = 0.0, shown: bool = True) -> OtnFrame:
    """A frame with the object at `box`. Two features rotate by `angle` from object to noise, with the IoU of a box."""

    def features(boxes: Tensor) -> Tensor:
        share = box_iou(box[None], boxes)[0] * shown
        noise = torch.randn(len(boxes), FEATURES, generator=torch.Generator().manual_seed(0)) * 0.1
        noise[:, 0] += (2 * share - 1) * np.cos(angle)
        noise[:, 1] += (2 * share - 1) * np.sin(angle)
        return noise * 5

    return OtnFrame(SIZE, torch.zeros(0, 4), features)


def _tracker(settings: TrackingSettings | None = None) -> ObjectTracker:
    torch.manual_seed(0)
    return ObjectTracker(OtnClassifier(FEATURES, 32), BOX, _otn_frame(BOX), settings)


def _samples(tracker: ObjectTracker, frame: OtnFrame) -> tuple[Tensor, Tensor]:
    """Scores of boxes on the object and of boxes elsewhere."""
    boxes = torch.rand(4000, 4) * torch.tensor([160, 120, 160, 120])
    boxes = torch.cat((torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:]) + 1), 1)
    boxes = torch.cat((boxes, tracker.box + torch.randn(200, 4) * 3))
    iou = box_iou(tracker.box[None], boxes)[0]
    return tuple(tracker.scores(frame.features(boxes[chosen])) for chosen in (iou > 0.75, iou < 0.25))


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
        [torch.zeros(1, 3, 128, 192), *maps], torch.tensor([[10.0, 20, 60, 90], [120.0, 20, 170, 90]])
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
    assert (off < 0).float().mean() > 0.99


def test_samples_have_the_overlaps_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    frame = _otn_frame(BOX)
    settings = TrackingSettings()

    def recorded(boxes: Tensor) -> Tensor:
        seen.append(boxes)
        return frame.features(boxes)

    torch.manual_seed(0)
    proposals = torch.tensor([[41.0, 30, 81, 60], [0.0, 0, 20, 20], [60.0, 30, 90, 60]])
    ObjectTracker(OtnClassifier(FEATURES, 8), BOX, OtnFrame(SIZE, proposals, recorded), settings)
    overlap = box_iou(BOX[None], seen[0])[0]
    on, off = overlap[: settings.first_positives], overlap[settings.first_positives :]
    assert (on >= 0.7).all()
    assert (off <= 0.3).all()
    assert len(off) == settings.first_negatives
    rows = {tuple(row) for row in seen[0].tolist()}
    assert tuple(proposals[0].tolist()) in rows
    assert tuple(proposals[2].tolist()) not in rows
    assert (seen[0][:, :2] >= 0).all() and (seen[0][:, 2:] <= torch.tensor([160.0, 120.0])).all()


def test_the_object_is_followed() -> None:
    tracker = _tracker()
    box = BOX
    for step in range(1, 8):
        box = BOX + torch.tensor([6.0, 3.0, 6.0, 3.0]) * step
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
        near = BOX + torch.arange(6)[:, None] * 0.5
        for step in range(1, 121):
            frame = replace(_otn_frame(BOX, angle=step / 120 * np.pi * 0.7), proposals=near)
            _track(tracker, frame)
            tracker.move(BOX)
        return tracker.scores(frame.features(BOX[None])).item()

    assert last_score(True) > 1
    assert last_score(False) < -1


def test_the_box_of_the_mask_replaces_a_box_that_it_overlaps() -> None:
    tracker = _tracker()
    assert tracker.find(_otn_frame(BOX))
    before = tracker.box
    tracker.refine(BOX + torch.tensor([60.0, 0, 60, 0]))
    assert torch.equal(tracker.box, before)
    tracker.refine(BOX + torch.tensor([10.0, 0, 10, 0]))
    assert torch.equal(tracker.box, BOX + torch.tensor([10.0, 0, 10, 0]))
    assert not tracker.find(_otn_frame(BOX, shown=False))
    tracker.refine(BOX)
    assert torch.equal(tracker.box, BOX + torch.tensor([10.0, 0, 10, 0]))


def test_the_box_is_the_mean_of_the_five_best(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    proposals = BOX + torch.arange(8)[:, None] * torch.tensor([1.0, 0, 1, 0])
    scores = torch.tensor([0.5, 3, -1, 2, 7, 1, 0, 4])
    monkeypatch.setattr(tracker, 'scores', lambda features: scores)
    assert _track(tracker, replace(_otn_frame(BOX), proposals=proposals))
    assert tracker.score == pytest.approx((3 + 2 + 7 + 1 + 4) / 5)
    shift = (1 + 3 + 4 + 5 + 7) / 5
    torch.testing.assert_close(tracker.box, BOX + torch.tensor([shift, 0, shift, 0]))


def _candidates(tracker: ObjectTracker, monkeypatch: pytest.MonkeyPatch, score: float, proposals: Tensor) -> Tensor:
    tracker.score = score
    seen: list[Tensor] = []

    def recorded(boxes: Tensor) -> Tensor:
        seen.append(boxes)
        return torch.zeros(len(boxes), FEATURES)

    monkeypatch.setattr(tracker, 'scores', lambda features: -torch.ones(len(features)))
    monkeypatch.setattr(tracker, '_update', lambda frames, steps: None)
    assert not _track(tracker, OtnFrame(SIZE, proposals, recorded))
    return seen[0]


def test_proposals_near_the_last_box_are_tried_and_farther_ones_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = _tracker()
    shifts = torch.tensor([0.0, 2, 4, 6, 8, 10, 16, 20, 24, 28, 32, 36])  # IoU (40 - d) / (40 + d)
    proposals = BOX + shifts[:, None] * torch.tensor([1.0, 0, 1, 0])
    overlaps = (40 - shifts) / (40 + shifts)
    for score, limit in ((1.0, 0.5), (-1.0, 0.2)):
        torch.testing.assert_close(_candidates(tracker, monkeypatch, score, proposals), proposals[overlaps > limit])


@pytest.mark.parametrize('given', [0, 3])
def test_too_few_proposals_are_filled_up_with_boxes_around_the_last(
    given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = _candidates(_tracker(), monkeypatch, 1.0, BOX.expand(given, -1) + 1)
    assert len(boxes) == given + 1 + TrackingSettings().candidates
    center = (boxes[:, 2:] + boxes[:, :2]) / 2
    assert (center - torch.tensor([60.0, 45.0])).abs().max() < 0.6 * 35 + 1


def test_a_lost_object_keeps_its_box_and_trains_on_the_last_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = _tracker()
    updates: list[tuple[int, int]] = []
    monkeypatch.setattr(tracker, '_update', lambda frames, steps: updates.append((frames, steps)))
    assert not _track(tracker, _otn_frame(BOX, shown=False))
    assert torch.equal(tracker.box, BOX)
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
    seen: list[Tensor] = []
    forward = tracker._classifier.forward

    def recorded(features: Tensor) -> Tensor:
        if tracker._classifier.training:
            seen.append(features)
        return forward(features)

    negatives = torch.randn(200, FEATURES)
    expected = tracker.scores(negatives).topk(96).values.sort().values
    hard = negatives[tracker.scores(negatives).topk(96).indices]
    monkeypatch.setattr(tracker._classifier, 'forward', recorded)
    tracker._learn(torch.ones(40, FEATURES), negatives, 1, 0.0)
    assert len(seen[0]) == 32 + 96
    assert {tuple(row) for row in seen[0][32:].tolist()} == {tuple(row) for row in hard.tolist()}
    torch.testing.assert_close(tracker.scores(seen[0][32:]).sort().values, expected)


def test_the_last_layer_learns_ten_times_as_fast() -> None:
    others, last = _tracker()._optimizer.param_groups
    assert last['lr'] == pytest.approx(10 * others['lr'])
    assert sum(each.numel() for each in last['params']) == 32 * 2 + 2
    assert (last['momentum'], last['weight_decay']) == (0.9, 5e-4)


def test_training_one_object_changes_neither_others_nor_the_initial_weights() -> None:
    torch.manual_seed(0)
    start = OtnClassifier(FEATURES, 32)
    before = [each.clone() for each in start.parameters()]
    state = torch.random.get_rng_state()
    make: Callable[[], ObjectTracker] = lambda: ObjectTracker(start, BOX, _otn_frame(BOX))  # noqa: E731
    with torch.inference_mode():
        first, second = make(), make()
        features = torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(1))
        assert torch.equal(first.scores(features), second.scores(features))
    assert torch.equal(torch.random.get_rng_state(), state)
    for each, old in zip(start.parameters(), before, strict=True):
        assert torch.equal(each, old)


def test_an_object_as_large_as_the_frame_has_no_negatives() -> None:
    torch.manual_seed(0)
    box = torch.tensor([0.0, 0.0, 160.0, 120.0])
    tracker = ObjectTracker(OtnClassifier(FEATURES, 8), box, _otn_frame(box))
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
