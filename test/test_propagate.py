"""Propagate: a tracker that follows masks by a propagator of colors, with and without a detector."""

import numpy as np
import pytest
from helpers.color_propagator import BLUE, RED, ColorPropagator, draw, mask_of
from helpers.patches import PatchEngine, square

from vis_ros.instances import CONFIRMED, LOST
from vis_ros.tracking.prompts import Prompt, PromptError
from vis_ros.tracking.propagate import OBJECT, Propagate
from vis_ros.tracking.propagate_config import PropagateConfig
from vis_ros.tracking.settings import Settings

PROMPTED = PropagateConfig(start_from_detections=False)


def run(tracker, images, rate=10.0, start=0.0):
    return [tracker.step(image, start + number / rate) for number, image in enumerate(images)]


def prompted(config=PROMPTED, engine=None):
    return Propagate(ColorPropagator(), engine, config)


def start(tracker, image, *masks):
    """A first image, and a prompt for each mask in it; returns the track ids."""
    tracker.step(image, 0.0)
    return [tracker.prompt(mask=mask) for mask in masks]


def test_a_prompted_mask_is_propagated_with_its_id_and_the_true_pixels():
    tracker = prompted()
    first = draw(square(10), square(90, color=BLUE))
    tracker.step(first, 0.0)
    number = tracker.prompt(stamp=0.0, mask=mask_of(first, RED))
    for time in range(1, 6):
        image = draw(square(10 + 6 * time), square(90, color=BLUE))
        found = tracker.step(image, time / 10)
        assert found.track_ids.tolist() == [number] and found.states.tolist() == [CONFIRMED]
        assert (found.full_mask(0) == mask_of(image, RED)).all()
        assert found.boxes.tolist() == [[10 + 6 * time, 20, 34 + 6 * time, 44]]
        assert found.hits.tolist() == [time + 1] and found.first_seen.tolist() == [0.0]


def test_masks_come_at_the_size_of_the_image():
    tracker = prompted()
    large = np.kron(draw(square(10)), np.ones((3, 3, 1), np.uint8))  # 288x480 for a working size of 96x160
    start(tracker, large, mask_of(large, RED))
    moved = np.kron(draw(square(40)), np.ones((3, 3, 1), np.uint8))
    found = tracker.step(moved, 0.1)
    truth = mask_of(moved, RED)
    shared = (found.full_mask(0) > 0) & truth
    assert found.track_ids.tolist() == [1]
    assert shared.sum() / ((found.full_mask(0) > 0) | truth).sum() > 0.9


def test_masks_of_objects_that_touch_do_not_overlap_and_cover_both():
    tracker = prompted()
    image = draw(square(10), square(34, color=BLUE))
    start(tracker, image, mask_of(image, RED), mask_of(image, BLUE))
    found = tracker.step(image, 0.1)
    together = found.full_mask(0).astype(int) + found.full_mask(1)
    assert together.max() == 1
    assert ((together > 0) == (mask_of(image, RED) | mask_of(image, BLUE))).all()


def test_vanished_object_is_lost_with_its_last_box_and_comes_back_with_its_id():
    tracker = prompted()
    start(tracker, draw(square(10)), mask_of(draw(square(10)), RED))
    run(tracker, [draw(square(20))], start=0.1)
    lost = run(tracker, [draw()] * 10, start=0.2)
    assert all(each.states.tolist() == [LOST] for each in lost)
    assert all(each.boxes.tolist() == [[20, 20, 44, 44]] and not each.areas().any() for each in lost)
    assert tracker.lost == 1
    (back,) = run(tracker, [draw(square(60))], start=1.3)
    assert back.states.tolist() == [CONFIRMED] and back.track_ids.tolist() == [1]
    assert back.areas().tolist() == [24 * 24]


def test_exploding_mask_is_lost_and_not_published():
    tracker = prompted()
    start(tracker, draw(square(10)), mask_of(draw(square(10)), RED))
    (found,) = run(tracker, [draw((0, 0, 160, 96, RED))], start=0.1)
    assert found.states.tolist() == [LOST] and not found.areas().any()


class Unsure(ColorPropagator):
    sureness = 1.0

    def step(self, image, after=None):
        return super().step(image) * np.float32(self.sureness)


def test_mask_that_is_less_likely_than_not_is_lost_until_it_is_likely_again():
    propagator = Unsure()
    tracker = Propagate(propagator, None, PROMPTED)
    image = draw(square(10))
    start(tracker, image, mask_of(image, RED))
    states = []
    for number, propagator.sureness in enumerate((0.6, 0.5, 0.6, 0.7, 0.6)):  # of 0.9
        states += tracker.step(image, 0.1 + number / 10).states.tolist()
    assert states == [CONFIRMED, LOST, LOST, CONFIRMED, CONFIRMED]


def test_detections_start_tracks_and_new_objects_are_found_later():
    engine = PatchEngine()
    tracker = Propagate(ColorPropagator(), engine, PropagateConfig(detect_every=5))
    first = run(tracker, [draw(square(10))] * 5)
    assert [each.track_ids.tolist() for each in first] == [[1]] * 5
    assert engine.calls == 1
    later = run(tracker, [draw(square(10), square(90, color=BLUE))] * 6, start=0.5)
    assert [each.track_ids.tolist() for each in later] == [[1, 2]] * 6
    assert [tracker.class_names[n] for n in later[-1].class_ids] == ['red', 'blue']


def test_lost_object_is_found_again_by_a_detection_that_looks_like_it():
    propagator = ColorPropagator(finds_lost=False)
    tracker = Propagate(propagator, PatchEngine(), PropagateConfig(detect_every=3))
    run(tracker, [draw(square(10))] * 3)
    run(tracker, [draw()] * 3, start=0.3)
    found = run(tracker, [draw(square(100, color=BLUE), square(50))] * 3, start=0.6)
    assert sorted(found[-1].track_ids.tolist()) == [1, 2]
    red = found[-1].full_mask(found[-1].track_ids.tolist().index(1))
    assert (red == mask_of(draw(square(50)), RED)).all()


def test_a_detected_object_is_deleted_when_lost_for_long_but_not_a_prompted_one():
    config = PropagateConfig(detect_every=1000, max_age_s=1.0)
    tracker = Propagate(ColorPropagator(), PatchEngine(), config)
    image = draw(square(10), square(90, color=BLUE))
    tracker.step(image, 0.0)
    found = tracker.step(image, 0.1)
    (red,) = [n for k, n in enumerate(found.track_ids.tolist()) if (found.full_mask(k) > 0)[mask_of(image, RED)].all()]
    tracker.forget(red)
    marked = tracker.prompt(mask=mask_of(image, RED))
    gone = run(tracker, [draw()] * 20, start=0.2)
    assert len(gone[0]) == 2
    assert gone[-1].track_ids.tolist() == [marked]


def test_track_ids_are_not_reused_before_a_reset():
    tracker = prompted()
    image = draw(square(10))
    tracker.step(image, 0.0)
    numbers = []
    for _ in range(3):
        numbers.append(tracker.prompt(mask=mask_of(image, RED)))
        tracker.forget(numbers[-1])
    assert numbers == [1, 2, 3]
    tracker.reset()
    assert tracker.identities == 0
    tracker.step(image, 0.0)
    assert tracker.prompt(mask=mask_of(image, RED)) == 1


@pytest.mark.parametrize(
    ('prompt', 'reason'),
    [
        ({'mask': np.zeros((96, 160), bool)}, 'empty'),
        ({'mask': np.ones((48, 64), bool)}, '64x48 pixels, but its image has 160x96'),
        ({'stamp': -5.0, 'mask': np.ones((96, 160), bool)}, 'are buffered'),
        ({'stamp': 99.0, 'mask': np.ones((96, 160), bool)}, 'after the newest image'),
        ({'mask': np.eye(96, 160) * (np.arange(96) < 5)[:, None]}, '5 pixels at network resolution'),
        ({'box': (50, 50, 500, 60)}, 'not inside the image'),
        ({'point': (5, 500)}, 'not inside the image'),
        ({'point': (5, 5)}, 'no object at the point'),
    ],
)
def test_a_bad_prompt_is_refused_with_the_reason_and_the_others_are_tracked_on(prompt, reason):
    tracker = prompted()
    image = draw(square(10))
    tracker.step(image, 0.0)
    number = tracker.prompt(mask=mask_of(image, RED))
    with pytest.raises(PromptError, match=reason):
        tracker.prompt(**prompt)
    assert tracker.step(draw(square(14)), 0.1).track_ids.tolist() == [number]


def test_a_prompt_on_a_known_object_names_its_track():
    tracker = prompted()
    image = draw(square(10), square(90, color=BLUE))
    tracker.step(image, 0.0)
    tracker.prompt(mask=mask_of(image, RED))
    with pytest.raises(PromptError, match=r'track 1 is on this object already \(mask IoU 1.00\): forget it first'):
        tracker.prompt(mask=mask_of(image, RED))
    moved = draw(square(40), square(90, color=BLUE))
    tracker.step(moved, 0.1)
    with pytest.raises(PromptError, match='track 1 is on this object already'):
        tracker.prompt(mask=mask_of(moved, RED))
    assert tracker.identities == 1
    assert tracker.prompt(mask=mask_of(moved, BLUE)) == 2, 'another object gets a track'
    tracker.forget(1)
    assert tracker.prompt(mask=mask_of(moved, RED)) == 3


def test_more_objects_than_the_limit_and_an_unknown_id_are_refused():
    tracker = prompted(PropagateConfig(start_from_detections=False, max_objects=1))
    with pytest.raises(PromptError, match='no image has arrived'):
        tracker.prompt(point=(1, 1))
    image = draw(square(10), square(90, color=BLUE))
    tracker.step(image, 0.0)
    tracker.prompt(mask=mask_of(image, RED))
    with pytest.raises(PromptError, match='1 objects are tracked, which is the limit'):
        tracker.prompt(mask=mask_of(image, BLUE))
    with pytest.raises(PromptError, match='no track 9 to forget; tracks are: 1'):
        tracker.forget(9)


def test_a_prompt_needs_exactly_one_of_mask_box_and_point():
    for values in ({}, {'box': (0, 0, 1, 1), 'point': (0, 0)}):
        with pytest.raises(PromptError, match='exactly one'):
            Prompt(**values)


def test_a_point_and_a_box_select_the_detection_and_its_class():
    image = draw(square(10), square(90, color=BLUE))
    for prompt in ({'point': (100, 30)}, {'box': (88, 18, 116, 46)}):
        tracker = prompted(engine=PatchEngine())
        tracker.step(image, 0.0)
        tracker.prompt(**prompt)
        found = tracker.step(image, 0.1)
        assert tracker.class_names[found.class_ids[0]] == 'blue'
        assert (found.full_mask(0) == mask_of(image, BLUE)).all()


def test_a_box_without_a_detector_is_segmented_by_its_colors():
    image = draw(square(50))
    tracker = prompted()
    tracker.step(image, 0.0)
    tracker.prompt(box=(44, 14, 80, 50))
    found = tracker.step(image, 0.1)
    assert tracker.class_names[found.class_ids[0]] == OBJECT
    truth, mine = mask_of(image, RED), found.full_mask(0) > 0
    assert (truth & mine).sum() / (truth | mine).sum() > 0.8


def test_a_prompt_in_an_older_image_is_propagated_to_the_newest():
    tracker = prompted()
    images = [draw(square(10 + 5 * time)) for time in range(6)]
    run(tracker, images[:5])
    tracker.prompt(stamp=0.1, mask=mask_of(images[1], RED))
    found = tracker.step(images[5], 0.5)
    assert (found.full_mask(0) == mask_of(images[5], RED)).all()


def test_memory_does_not_grow():
    tracker = prompted()
    image = draw(square(10))
    start(tracker, image, mask_of(image, RED))
    sizes = set()
    for time in range(1000):
        tracker.step(image if time % 7 else draw(), time / 100)
        if time > 500:
            sizes.add((len(tracker._objects), len(tracker._history._frames)))
    assert sizes == {(1, tracker.config.history_frames)}


def test_image_of_another_size_is_taken_like_the_others():
    tracker = prompted()
    start(tracker, draw(square(10)), mask_of(draw(square(10)), RED))
    large = np.kron(draw(square(20)), np.ones((2, 2, 1), np.uint8))
    found = tracker.step(large, 0.1)
    assert found.image_size == (192, 320)
    truth = mask_of(large, RED)
    assert ((found.full_mask(0) > 0) & truth).sum() / truth.sum() > 0.9


def test_detections_need_an_engine():
    with pytest.raises(ValueError, match='no detector'):
        Propagate(ColorPropagator(), None)


def test_settings_change_while_running():
    tracker = Propagate(ColorPropagator(), PatchEngine(), PropagateConfig(detect_every=1))
    assert len(tracker.step(draw(square(10)), 0.0)) == 1
    tracker.configure(Settings(model='feelvos', score_threshold=0.95))
    tracker.reset()
    assert len(tracker.step(draw(square(10)), 0.0)) == 0
    with pytest.raises(ValueError, match=r'score_threshold is 0\.4, but the network was loaded with 0\.5'):
        tracker.configure(Settings(model='feelvos', score_threshold=0.4))
