"""The accuracy check: which detections pass, which are rejected, and the stored reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from vis_ros.engines.accuracy_check import (
    InaccurateEngineError,
    check_accuracy,
    comparison_threshold,
    count_matches,
    keep_if_accurate,
    reference_file,
    reference_frames,
)
from vis_ros.instances import Instances
from vis_ros.networks.model_config import DEMO
from vis_ros.networks.named_weights import resolve

SIZE = (120, 128)
THRESHOLD = 0.5


def detections(count: int, **changes: Any) -> Instances:
    """Squares of 8 pixels in a row along the diagonal."""
    corners = 10 * np.arange(count, dtype=np.float32)[:, None]
    boxes = np.hstack([corners, corners, corners + 8, corners + 8])
    fields = {
        'image_size': SIZE,
        'boxes': boxes,
        'scores': np.full(count, 0.9, np.float32),
        'class_ids': np.zeros(count, np.int32),
        'rois': boxes.astype(np.int32),
        'masks': [np.ones((8, 8), np.uint8)] * count,
        'embeddings': np.eye(max(count, 1), 12, dtype=np.float32)[:count],
    }
    return Instances(**(fields | changes))


def engine(found: Instances, calls: list[int] | None = None) -> Any:
    def infer(images: Sequence[Any]) -> list[Instances]:
        if calls is not None:
            calls.append(len(images))
        return [found] * len(images)

    return infer


def check(found: Instances, expected: Instances, folder: Path) -> str:
    return check_accuracy(engine(found), engine(expected), SIZE, THRESHOLD, folder / 'stored.npz')


def test_reference_frames_are_reproducible_and_differ() -> None:
    first, again = reference_frames(SIZE), reference_frames(SIZE)
    assert all(frame.shape == (*SIZE, 3) for frame in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


GOOD = detections(10)
FIRST = np.arange(10)[:, None] == 0
WHOLE, HALF = np.ones((8, 8), np.uint8), np.tril(np.ones((8, 8), np.uint8))
ONE_WRONG: dict[str, dict[str, Any]] = {
    'another class': {'class_ids': FIRST[:, 0].astype(np.int32)},
    'a box that is off': {'boxes': GOOD.boxes + np.where(FIRST, [2, 0, 2, 0], 0).astype(np.float32)},
    'half a mask': {'masks': [HALF, *[WHOLE] * 9]},
    'another embedding': {'embeddings': np.where(FIRST, np.eye(10, 12)[[1] * 10], np.eye(10, 12)).astype(np.float32)},
    'a weak score': {'scores': np.where(FIRST[:, 0], 0.1, 0.9).astype(np.float32)},
}


@pytest.mark.parametrize('wrong', list(ONE_WRONG))
def test_class_box_mask_and_embedding_must_match(wrong: str) -> None:
    total, matched = count_matches([detections(10, **ONE_WRONG[wrong])], [GOOD], THRESHOLD)
    if wrong == 'a weak score':  # it does not count, but it is still the match of the confident one
        assert (total, matched) == (19, 19)
    else:
        assert (total, matched) == (20, 18)


def test_the_order_of_detections_does_not_matter() -> None:
    assert count_matches([detections(10)[np.arange(10)[::-1]]], [detections(10)], THRESHOLD) == (20, 20)


def test_a_tenth_of_the_detections_may_be_missing(tmp_path: Path) -> None:
    assert check(detections(9), detections(10), tmp_path) == ''
    with pytest.raises(ValueError, match=r'only 64 of 72 confident detections .* 90% must'):
        check(detections(8), detections(10), tmp_path)


def test_detections_that_the_reference_lacks_count_as_mismatches(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='only 40 of 60'):
        check(detections(10), detections(5), tmp_path)
    with pytest.raises(ValueError, match='only 0 of 40'):
        check(detections(10), detections(0), tmp_path / 'other')


def test_without_any_detection_the_check_is_inconclusive(tmp_path: Path) -> None:
    assert 'inconclusive' in check(detections(0), detections(0), tmp_path)


def test_detections_close_to_the_threshold_are_ignored(tmp_path: Path) -> None:
    verge = detections(10, scores=np.array([0.9] * 5 + [0.51] * 5, np.float32))
    assert check(detections(5), verge, tmp_path) == ''


def test_the_reference_runs_once_and_is_stored(tmp_path: Path) -> None:
    stored = tmp_path / 'new' / 'stored.npz'
    found = detections(
        2,
        rois=np.array([[0, 0, 2, 3], [10, 10, 18, 18]], np.int32),
        masks=[np.ones((3, 2), np.uint8), np.eye(8, dtype=np.uint8)],
    )
    asked: list[int] = []
    for _ in range(2):
        assert check_accuracy(engine(found), engine(found, asked), SIZE, THRESHOLD, stored) == ''
    assert len(asked) == 1
    stored.write_bytes(stored.read_bytes()[:-50])
    assert check_accuracy(engine(found), engine(found, asked), SIZE, THRESHOLD, stored) == ''
    assert len(asked) == 2
    (tmp_path / 'file').touch()
    check_accuracy(engine(found), engine(found, asked), SIZE, THRESHOLD, tmp_path / 'file' / 'stored.npz')


# --- reduced precision ------------------------------------------------------------------------------------------------


class FakeEngine:
    """An engine whose detections depend on its precision."""

    input_size = SIZE

    def __init__(self, precision: str, found: Instances, note: str = '') -> None:
        self.precision, self.found, self.note = precision, found, note

    def describe(self) -> Any:
        return SimpleNamespace(precision=self.precision)

    def infer(self, images: Sequence[Any]) -> list[Instances]:
        return [self.found] * len(images)


def kept(requested: str, reduced: Instances, exact: Instances) -> Any:
    return keep_if_accurate(
        cast(Any, FakeEngine('bf16', reduced)),
        requested,
        lambda note: cast(Any, FakeEngine('fp32', exact, note)),
        reference_file('a' * 64, DEMO, SIZE),
        THRESHOLD,
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


@pytest.mark.usefixtures('cache')
def test_a_reduced_precision_that_keeps_the_results_is_used() -> None:
    assert kept('auto', GOOD, GOOD).precision == 'bf16'
    assert kept('bf16', GOOD, GOOD).precision == 'bf16'


@pytest.mark.usefixtures('cache')
def test_auto_falls_back_to_fp32_with_the_numbers() -> None:
    engine = kept('auto', detections(5), GOOD)
    assert engine.precision == 'fp32'
    assert engine.note.startswith('fp32 is used instead of bf16: accuracy check failed: only 40 of 60 confident')


@pytest.mark.usefixtures('cache')
def test_auto_falls_back_to_fp32_if_nothing_can_be_compared(caplog: pytest.LogCaptureFixture) -> None:
    assert 'inconclusive' in kept('auto', detections(0), detections(0)).note
    assert kept('bf16', detections(0), detections(0)).precision == 'bf16'
    assert 'bf16: the accuracy check is inconclusive' in caplog.text


def test_a_lowered_score_threshold_does_not_let_noise_decide() -> None:
    """At 0.02, a third of what demo finds in the reference frames depends on rounding."""
    own = DEMO.score_threshold
    thresholds = [comparison_threshold(resolve('demo'), DEMO.with_fields(score_threshold=s)) for s in (0.02, own, 0.6)]
    assert thresholds == [own, own, 0.6]


@pytest.mark.usefixtures('cache')
def test_a_named_precision_that_changes_the_results_is_rejected() -> None:
    with pytest.raises(InaccurateEngineError, match='The engine is rejected: try precision fp32'):
        kept('bf16', detections(5), GOOD)
