"""The setting `classes`: only these classes are detected, each above its own score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from vis_ros.instances import Instances
from vis_ros.tracking.class_scores import lowest_scores, parse_classes
from vis_ros.tracking.detection_filter import DetectionFilter
from vis_ros.tracking.settings import Settings

NAMES = ('person', 'traffic light', 'dog')


ENGINE = cast(Any, SimpleNamespace(class_names=NAMES, score_threshold=0.0))


def detections(scores: list[float]) -> Instances:
    """One object of each class in turn, with these scores."""
    masks = list(np.ones((len(scores), 8, 8), np.uint8))
    return Instances.from_masks(masks, np.arange(len(scores)) % len(NAMES), scores, class_names=NAMES)


def kept(classes: str, threshold: float = 0.0) -> list[tuple[str, float]]:
    found = DetectionFilter(ENGINE, threshold, classes).keep(detections([0.9, 0.8, 0.7, 0.3, 0.2, 0.1]))
    return list(zip(found.names, found.scores.round(2).tolist(), strict=True))


def test_classes_and_their_scores() -> None:
    assert len(kept('')) == 6
    assert kept('dog') == [('dog', pytest.approx(0.7)), ('dog', pytest.approx(0.1))]
    assert [name for name, _ in kept(' traffic light:0.5 ,dog ')] == ['traffic light', 'dog', 'dog']
    assert kept('dog:0.2', threshold=0.75) == [], 'the higher threshold applies'


def test_they_can_be_changed_while_running() -> None:
    wanted, found = DetectionFilter(ENGINE), detections([0.9, 0.8, 0.7])
    wanted.configure(0.0, 'person')
    assert wanted.keep(found).names == ['person']
    with pytest.raises(ValueError, match='cat'):
        wanted.configure(0.5, 'cat')
    assert wanted.keep(found).names == ['person'], 'nothing has changed'


@pytest.mark.parametrize('text', ['a,,b', 'a,a', 'a:2', 'a:-1', 'a:x', ':0.5', 'a:nan'])
def test_what_is_not_a_list_of_classes_says_so(text: str) -> None:
    with pytest.raises(ValueError, match='classes is'):
        parse_classes(text)
    with pytest.raises(ValueError, match='classes is'):
        Settings(classes=text)


def test_an_unknown_class_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"classes has 'cat'.*person, traffic light, dog"):
        lowest_scores('dog, cat', NAMES)
