import numpy as np
import pytest
from helpers.colour_propagator import BLUE, GREEN, RED, ColourPropagator, draw, mask_of

from vis_ros.engines.engine import EngineInfo
from vis_ros.instances import CONFIRMED, LOST, Instances
from vis_ros.tracking.prompts import Prompt, PromptError
from vis_ros.tracking.propagate import OBJECT, Propagate, PropagateConfig

BY_HAND = PropagateConfig(start_from_detections=False)


class PatchEngine:
    """Detects patches of pure colours; class and embedding are the colour."""

    class_names = ('blue', 'green', 'red')
    input_size = (96, 160)
    colours = (BLUE, GREEN, RED)

    def __init__(self):
        self.calls = 0

    def infer(self, images):
        self.calls += 1
        return [self._one(image) for image in images]

    def _one(self, image):
        found = [(n, mask_of(image, colour)) for n, colour in enumerate(self.colours)]
        found = [(n, mask) for n, mask in found if mask.any()]
        rois = np.array([box_of(mask) for _, mask in found], np.int32).reshape(-1, 4)
        return Instances(
            image_size=image.shape[:2],
            boxes=rois,
            scores=np.full(len(found), 0.9),
            class_ids=[n for n, _ in found],
            rois=rois,
            masks=[
                mask[y0:y1, x0:x1].astype(np.uint8) for (_, mask), (x0, y0, x1, y1) in zip(found, rois, strict=True)
            ],
            embeddings=np.array([np.eye(3)[n] * 10 - 5 for n, _ in found]).reshape(-1, 3),
        )

    def warm_up(self):
        return 0.0

    def describe(self):
        return EngineInfo('patches', 'cpu', 'uint8', 'patches', 0, self.input_size)


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def square(x, y=20, side=24, colour=RED):
    return (x, y, x + side, y + side, colour)


def run(tracker, images, rate=10.0, start=0.0):
    return [tracker.step(image, start + number / rate) for number, image in enumerate(images)]


def by_hand(config=BY_HAND, engine=None):
    return Propagate(ColourPropagator(), engine, config)


def test_marked_mask_is_carried_with_its_id_and_the_true_pixels():
    tracker = by_hand()
    first = draw(square(10), square(90, colour=BLUE))
    tracker.step(first, 0.0)
    number = tracker.track_object(Prompt(stamp=0.0, mask=mask_of(first, RED)))
    for time in range(1, 6):
        image = draw(square(10 + 6 * time), square(90, colour=BLUE))
        found = tracker.step(image, time / 10)
        assert found.track_ids.tolist() == [number] and found.states.tolist() == [CONFIRMED]
        assert (found.full_mask(0) == mask_of(image, RED)).all()
        assert found.boxes.tolist() == [[10 + 6 * time, 20, 34 + 6 * time, 44]]
        assert found.hits.tolist() == [time + 1] and found.first_seen.tolist() == [0.0]


def test_masks_come_at_the_size_of_the_image():
    tracker = by_hand()
    large = np.kron(draw(square(10)), np.ones((3, 3, 1), np.uint8))  # 288x480 for a working size of 96x160
    found = tracker.begin(large, 0.0, {7: mask_of(large, RED)})
    assert (found.full_mask(0) == mask_of(large, RED)).all()
    moved = np.kron(draw(square(40)), np.ones((3, 3, 1), np.uint8))
    found = tracker.step(moved, 0.1)
    truth = mask_of(moved, RED)
    shared = (found.full_mask(0) > 0) & truth
    assert found.track_ids.tolist() == [7]
    assert shared.sum() / ((found.full_mask(0) > 0) | truth).sum() > 0.9


def test_masks_of_objects_that_touch_do_not_overlap_and_cover_both():
    tracker = by_hand()
    image = draw(square(10), square(34, colour=BLUE))
    tracker.begin(image, 0.0, {1: mask_of(image, RED), 2: mask_of(image, BLUE)})
    found = tracker.step(image, 0.1)
    together = found.full_mask(0).astype(int) + found.full_mask(1)
    assert together.max() == 1
    assert ((together > 0) == (mask_of(image, RED) | mask_of(image, BLUE))).all()


def test_vanished_object_is_lost_with_its_last_box_and_comes_back_with_its_id():
    tracker = by_hand()
    tracker.begin(draw(square(10)), 0.0, {1: mask_of(draw(square(10)), RED)})
    run(tracker, [draw(square(20))], start=0.1)
    lost = run(tracker, [draw()] * 10, start=0.2)
    assert all(each.states.tolist() == [LOST] for each in lost)
    assert all(each.boxes.tolist() == [[20, 20, 44, 44]] and not each.areas().any() for each in lost)
    assert tracker.lost == 1
    (back,) = run(tracker, [draw(square(60))], start=1.3)
    assert back.states.tolist() == [CONFIRMED] and back.track_ids.tolist() == [1]
    assert back.areas().tolist() == [24 * 24]


def test_exploding_mask_is_lost_and_not_published():
    tracker = by_hand()
    tracker.begin(draw(square(10)), 0.0, {1: mask_of(draw(square(10)), RED)})
    (found,) = run(tracker, [draw((0, 0, 160, 96, RED))], start=0.1)
    assert found.states.tolist() == [LOST] and not found.areas().any()


class Unsure(ColourPropagator):
    sureness = 1.0

    def step(self, image):
        return super().step(image) * np.float32(self.sureness)


def test_mask_that_is_less_likely_than_not_is_lost_until_it_is_likely_again():
    propagator = Unsure()
    tracker = Propagate(propagator, None, BY_HAND)
    image = draw(square(10))
    tracker.begin(image, 0.0, {1: mask_of(image, RED)})
    states = []
    for number, propagator.sureness in enumerate((0.6, 0.5, 0.6, 0.7, 0.6)):  # of 0.9
        states += tracker.step(image, 0.1 + number / 10).states.tolist()
    assert states == [CONFIRMED, LOST, LOST, CONFIRMED, CONFIRMED]


def test_detections_begin_objects_and_new_ones_are_found_later():
    engine = PatchEngine()
    tracker = Propagate(ColourPropagator(), engine, PropagateConfig(detect_every=5))
    first = run(tracker, [draw(square(10))] * 5)
    assert [each.track_ids.tolist() for each in first] == [[1]] * 5
    assert engine.calls == 1
    later = run(tracker, [draw(square(10), square(90, colour=BLUE))] * 6, start=0.5)
    assert [each.track_ids.tolist() for each in later] == [[1, 2]] * 6
    assert [tracker.class_names[n] for n in later[-1].class_ids] == ['red', 'blue']


def test_lost_object_is_found_again_by_a_detection_that_looks_like_it():
    propagator = ColourPropagator(finds_lost=False)
    tracker = Propagate(propagator, PatchEngine(), PropagateConfig(detect_every=3))
    run(tracker, [draw(square(10))] * 3)
    run(tracker, [draw()] * 3, start=0.3)
    found = run(tracker, [draw(square(100, colour=BLUE), square(50))] * 3, start=0.6)
    assert sorted(found[-1].track_ids.tolist()) == [1, 2]
    red = found[-1].full_mask(found[-1].track_ids.tolist().index(1))
    assert (red == mask_of(draw(square(50)), RED)).all()


def test_object_of_a_detection_is_forgotten_when_lost_for_long_but_not_one_of_a_person():
    config = PropagateConfig(detect_every=1000, max_age_s=1.0)
    tracker = Propagate(ColourPropagator(), PatchEngine(), config)
    image = draw(square(10), square(90, colour=BLUE))
    tracker.step(image, 0.0)
    tracker.forget_object(tracker.step(image, 0.1).track_ids.tolist()[0])
    marked = tracker.track_object(Prompt(mask=mask_of(image, RED)))
    gone = run(tracker, [draw()] * 20, start=0.2)
    assert len(gone[0]) == 2
    assert gone[-1].track_ids.tolist() == [marked]


def test_numbers_are_never_used_again_within_an_epoch():
    tracker = by_hand()
    image = draw(square(10))
    tracker.step(image, 0.0)
    numbers = []
    for _ in range(3):
        numbers.append(tracker.track_object(Prompt(mask=mask_of(image, RED))))
        tracker.forget_object(numbers[-1])
    assert numbers == [1, 2, 3]
    tracker.reset()
    assert tracker.epoch == 1 and tracker.identities == 0
    tracker.step(image, 0.0)
    assert tracker.track_object(Prompt(mask=mask_of(image, RED))) == 1


@pytest.mark.parametrize(
    ('mark', 'reason'),
    [
        (Prompt(mask=np.zeros((96, 160), bool)), 'empty'),
        (Prompt(mask=np.ones((48, 64), bool)), '64x48 pixels, its image has 160x96'),
        (Prompt(stamp=-5.0, mask=np.ones((96, 160), bool)), 'images are kept for'),
        (Prompt(stamp=99.0, mask=np.ones((96, 160), bool)), 'after the newest image'),
        (Prompt(mask=np.eye(96, 160) * (np.arange(96) < 5)[:, None]), '5 pixels at the size that the network works at'),
        (Prompt(box=(50, 50, 500, 60)), 'not inside the image'),
        (Prompt(point=(5, 500)), 'not inside the image'),
        (Prompt(point=(5, 5)), 'no object at the point'),
    ],
)
def test_bad_mark_is_refused_with_the_reason_and_the_others_are_tracked_on(mark, reason):
    tracker = by_hand()
    image = draw(square(10))
    tracker.step(image, 0.0)
    number = tracker.track_object(Prompt(mask=mask_of(image, RED)))
    with pytest.raises(PromptError, match=reason):
        tracker.track_object(mark)
    assert tracker.step(draw(square(14)), 0.1).track_ids.tolist() == [number]


def test_more_objects_than_the_limit_and_an_unknown_id_are_refused():
    tracker = by_hand(PropagateConfig(start_from_detections=False, max_objects=1))
    with pytest.raises(PromptError, match='no image has come'):
        tracker.track_object(Prompt(point=(1, 1)))
    image = draw(square(10), square(90, colour=BLUE))
    tracker.step(image, 0.0)
    tracker.track_object(Prompt(mask=mask_of(image, RED)))
    with pytest.raises(PromptError, match='1 objects are tracked, which is the limit'):
        tracker.track_object(Prompt(mask=mask_of(image, BLUE)))
    with pytest.raises(PromptError, match='no object 9 to forget; tracked are: 1'):
        tracker.forget_object(9)


def test_mark_needs_exactly_one_of_mask_box_and_point():
    for values in ({}, {'box': (0, 0, 1, 1), 'point': (0, 0)}):
        with pytest.raises(PromptError, match='exactly one'):
            Prompt(**values)


def test_point_and_box_mean_the_detection_and_its_class():
    image = draw(square(10), square(90, colour=BLUE))
    for mark in (Prompt(point=(100, 30)), Prompt(box=(88, 18, 116, 46))):
        tracker = by_hand(engine=PatchEngine())
        tracker.step(image, 0.0)
        tracker.track_object(mark)
        found = tracker.step(image, 0.1)
        assert tracker.class_names[found.class_ids[0]] == 'blue'
        assert (found.full_mask(0) == mask_of(image, BLUE)).all()


def test_box_without_a_detector_is_cut_out_by_its_colours():
    image = draw(square(50))
    tracker = by_hand()
    tracker.step(image, 0.0)
    tracker.track_object(Prompt(box=(44, 14, 80, 50)))
    found = tracker.step(image, 0.1)
    assert tracker.class_names[found.class_ids[0]] == OBJECT
    truth, mine = mask_of(image, RED), found.full_mask(0) > 0
    assert (truth & mine).sum() / (truth | mine).sum() > 0.8


def test_mark_in_an_older_image_is_carried_to_the_newest():
    tracker = by_hand()
    images = [draw(square(10 + 5 * time)) for time in range(6)]
    run(tracker, images[:5])
    tracker.track_object(Prompt(stamp=0.1, mask=mask_of(images[1], RED)))
    found = tracker.step(images[5], 0.5)
    assert (found.full_mask(0) == mask_of(images[5], RED)).all()


def test_what_is_kept_does_not_grow():
    tracker = by_hand()
    image = draw(square(10))
    tracker.begin(image, 0.0, {1: mask_of(image, RED)})
    sizes = set()
    for time in range(3000):
        tracker.step(image if time % 7 else draw(), time / 100)
        if time > 500:
            sizes.add((len(tracker._objects), len(tracker._kept)))
    assert sizes == {(1, tracker.config.history_frames)}


def test_image_of_another_size_is_taken_like_the_others():
    tracker = by_hand()
    tracker.begin(draw(square(10)), 0.0, {1: mask_of(draw(square(10)), RED)})
    large = np.kron(draw(square(20)), np.ones((2, 2, 1), np.uint8))
    found = tracker.step(large, 0.1)
    assert found.image_size == (192, 320)
    truth = mask_of(large, RED)
    assert ((found.full_mask(0) > 0) & truth).sum() / truth.sum() > 0.9


def test_detections_need_an_engine():
    with pytest.raises(ValueError, match='no engine'):
        Propagate(ColourPropagator(), None)
