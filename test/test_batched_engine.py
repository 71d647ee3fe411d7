"""BatchedEngine: when images run together."""

import numpy as np
import pytest
from helpers.rectangles import GREEN, RED, RectangleEngine, draw

from vis_ros.engines import batched_engine
from vis_ros.engines.batched_engine import BatchedEngine, batched

SIZE = 4


class CountingEngine(RectangleEngine):
    """Notes how many images it runs at once."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.runs = []

    def infer(self, images):
        self.runs.append(len(images))
        return super().infer(images)


@pytest.fixture
def timed(monkeypatch):
    """A BatchedEngine of which a full batch takes this many times as long as one image, and its two engines."""

    def make(times):
        durations = iter([1.0, times])
        monkeypatch.setattr(batched_engine, 'shortest_s', lambda run: run() and next(durations))
        single, several = CountingEngine(), CountingEngine()
        engine = BatchedEngine(single, several, SIZE)
        assert single.runs == [1] and several.runs == [SIZE]  # both were timed
        single.runs.clear()
        several.runs.clear()
        return engine, single, several

    return make


def images(count):
    return [draw((4, 4, 14 + index, 14, GREEN if index % 2 else RED)) for index in range(count)]


@pytest.mark.parametrize(('times', 'least'), [(1.0, 2), (1.8, 2), (2.0, 3), (2.8, 3), (3.7, 4)])
def test_a_batch_runs_together_from_as_many_images_as_take_longer_alone(timed, times, least):
    engine, single, several = timed(times)
    assert engine.batch == SIZE
    for count in range(1, SIZE + 1):
        engine.infer(images(count))
    assert single.runs == list(range(1, least)) and several.runs == list(range(least, SIZE + 1))


def test_a_batch_that_gains_nothing_is_not_used(timed):
    engine, single, several = timed(3.9)
    assert engine.batch == 1
    engine.infer(images(SIZE))
    assert single.runs == [SIZE] and not several.runs


def test_images_of_different_sizes_run_alone(timed):
    engine, _, several = timed(1.0)
    found = engine.infer([images(1)[0], draw((4, 4, 20, 20, RED), height=64)])
    assert [each.image_size for each in found] == [(48, 64), (64, 64)] and not several.runs


def test_the_results_are_those_of_the_images_alone(timed):
    engine, single, _ = timed(1.0)
    for together, image in zip(engine.infer(images(3)), images(3), strict=True):
        (alone,) = single.infer([image])
        assert np.array_equal(together.rois, alone.rois) and np.array_equal(together.scores, alone.scores)


def test_without_the_engine_for_batches_a_note_says_why():
    def load():
        raise FileNotFoundError('there is no graph for 4 images')

    single = CountingEngine()
    engine = batched(single, SIZE, load)
    assert engine.batch == 1 and len(engine.infer(images(SIZE))) == SIZE and single.runs == [SIZE]
    assert engine.describe().note == 'images of several cameras run one after another: there is no graph for 4 images'
