"""The setting `classes`: only these classes are detected, each above its own score."""

from __future__ import annotations

import numpy as np
import pytest

from vis_ros.instances import Instances
from vis_ros.tracking.class_scores import lowest_scores, parse_classes
from vis_ros.tracking.score_filter import ScoreFilter
from vis_ros.tracking.settings import Settings

NAMES = ('person', 'traffic light', 'dog')


class ListEngine:
    """Detects one object of each class in turn, with these scores."""

    class_names, input_size = NAMES, (8, 8)

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def infer(self, images: list[np.ndarray]) -> list[Instances]:
        count = len(self.scores)
        masks = np.ones((count, 8, 8), np.uint8)
        found = Instances.from_masks(list(masks), np.arange(count) % len(NAMES), self.scores, class_names=NAMES)
        return [found for _ in images]


def kept(classes: str, threshold: float = 0.0) -> list[tuple[str, float]]:
    engine = ListEngine([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    (found,) = ScoreFilter(engine, threshold, classes).infer([np.zeros((8, 8, 3), np.uint8)])
    return list(zip(found.names, found.scores.round(2).tolist(), strict=True))


def test_classes_and_their_scores() -> None:
    assert len(kept('')) == 6
    assert kept('dog') == [('dog', pytest.approx(0.7)), ('dog', pytest.approx(0.1))]
    assert [name for name, _ in kept(' traffic light:0.5 ,dog ')] == ['traffic light', 'dog', 'dog']
    assert kept('dog:0.2', threshold=0.75) == [], 'the higher threshold applies'


def test_they_can_be_changed_while_running() -> None:
    filtered = ScoreFilter(ListEngine([0.9, 0.8, 0.7]), 0.0)
    filtered.configure(0.0, 'person')
    assert filtered.infer([np.zeros((8, 8, 3), np.uint8)])[0].names == ['person']
    with pytest.raises(ValueError, match='cat'):
        filtered.configure(0.5, 'cat')
    assert filtered.infer([np.zeros((8, 8, 3), np.uint8)])[0].names == ['person'], 'nothing has changed'


@pytest.mark.parametrize('text', ['a,,b', 'a,a', 'a:2', 'a:-1', 'a:x', ':0.5', 'a:nan'])
def test_what_is_not_a_list_of_classes_says_so(text: str) -> None:
    with pytest.raises(ValueError, match='classes is'):
        parse_classes(text)
    with pytest.raises(ValueError, match='classes is'):
        Settings(classes=text)


def test_an_unknown_class_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"classes has 'cat'.*person, traffic light, dog"):
        lowest_scores('dog, cat', NAMES)
