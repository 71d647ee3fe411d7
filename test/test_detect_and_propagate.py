"""DetectAndPropagate: gaps of a detector bridged by a propagator of colors."""

import cv2
import numpy as np
import pytest
from helpers.color_propagator import BLUE, RED, ColorPropagator, draw, mask_of
from helpers.patches import PatchEngine, square

from vis_ros.instances import BRIDGED, CONFIRMED, LOST, Instances
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_propagate import DetectAndPropagate
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory
from vis_ros.tracking.prompts import PromptError


class Blinking(PatchEngine):
    """Misses everything that is red in some of the images."""

    def __init__(self, missed):
        super().__init__()
        self._missed = missed

    def infer(self, images):
        (found,) = super().infer(images)
        number = self.calls - 1
        return [found[found.class_ids != 2] if number in self._missed else found]


def run(missed, images, bridged=True):
    tracker = DetectAndTrack(Blinking(missed), IdentityMemory(AssociationConfig(min_hits=2)))
    tracker = DetectAndPropagate(tracker, ColorPropagator()) if bridged else tracker
    return [tracker.step(image, number / 10) for number, image in enumerate(images)]


def moving(count=20):
    return [draw(square(10 + 2 * time), square(110, color=BLUE)) for time in range(count)]


def ids(found):
    return found.track_ids.tolist()


def test_gap_of_the_detector_is_bridged_with_the_id_and_the_true_mask():
    images = moving()
    without = run(range(5, 9), images, bridged=False)
    found = run(range(5, 9), images)
    red = ids(without[0])[0]
    if without[0].class_ids[0] != 2:
        red = ids(without[0])[1]
    for time, image in enumerate(images):
        assert red in ids(found[time]) and len(found[time]) == 2
        assert (red in ids(without[time])) == (time not in range(5, 9))
        index = ids(found[time]).index(red)
        assert (found[time].full_mask(index) == mask_of(image, RED)).all()
        assert ids(found[time]) == sorted(ids(found[time]))
        is_bridged = time in range(5, 9)
        assert (found[time].states[index] == BRIDGED) == is_bridged
        if is_bridged:
            assert found[time].hits[index] == found[4].hits[ids(found[4]).index(red)], 'hits are detections'
            assert found[time].scores[index] == found[time].match_scores[index] > 0.5, 'those of the propagator'


def test_without_gaps_nothing_is_added():
    for mine, theirs in zip(run((), moving()), run((), moving(), bridged=False), strict=True):
        assert ids(mine) == ids(theirs) and (mine.boxes == theirs.boxes).all()


def test_what_is_gone_is_not_bridged_and_nothing_is_bridged_for_longer_than_a_second():
    images = moving(5) + [draw(square(110, color=BLUE))] * 5
    assert all(len(found) == 1 for found in run((), images)[5:])
    long = run(range(5, 30), moving(30))
    assert [len(found) for found in long[5:14]] == [2] * 9
    assert all(len(found) == 1 for found in long[16:])


def test_mask_that_lies_on_a_detection_of_another_object_is_not_bridged():
    images = moving(5) + [draw((10, 10, 70, 70, BLUE), square(30))] * 3

    class Covering(Blinking):
        def _one(self, image):
            found = super()._one(image)
            masks = [np.ones_like(mask) for mask in found.masks]  # blue covers red
            return found.with_fields(masks=masks)

    tracker = DetectAndTrack(Covering(range(5, 8)), IdentityMemory(AssociationConfig(min_hits=2)))
    tracker = DetectAndPropagate(tracker, ColorPropagator())
    found = [tracker.step(image, number / 10) for number, image in enumerate(images)]
    assert all(2 not in each.class_ids for each in found[5:])


def test_reset_deletes_every_track():
    tracker = DetectAndTrack(PatchEngine(), IdentityMemory())
    propagator = ColorPropagator()
    tracker = DetectAndPropagate(tracker, propagator)
    for number, image in enumerate(moving(5)):
        tracker.step(image, number / 10)
    assert len(propagator.object_ids) == 2
    tracker.reset()
    assert not propagator.object_ids and not tracker.identities


def test_more_objects_than_can_be_propagated_do_not_displace_each_other():
    """Otherwise each of them would start again in every image."""

    class Counting(ColorPropagator):
        started, corrected = 0, 0

        def start(self, *arguments):
            self.started += 1
            super().start(*arguments)

        def correct(self, *arguments):
            self.corrected += 1
            super().correct(*arguments)

    class Many:
        """Ten squares, all confirmed and always seen."""

        class_names, identities = ('patch',), 10

        def step(self, image, stamp, found=None, *, after=None):
            corners = [(16 * (n % 5), 16 * (n // 5)) for n in range(10)]
            rois = np.array([(x, y, x + 10, y + 10) for x, y in corners])
            ids = np.arange(1, 11)
            masks = [np.ones((10, 10), np.uint8)] * 10
            found = Instances(image.shape[:2], rois, np.ones(10), np.zeros(10), rois, masks)
            return found.with_fields(
                track_ids=ids,
                states=np.full(10, CONFIRMED),
                hits=ids,
                match_scores=np.ones(10),
                first_seen=np.zeros(10),
            )

    propagator = Counting()
    tracker = DetectAndPropagate(Many(), propagator)
    for number in range(10):
        found = tracker.step(draw(), number / 10)
        assert found.track_ids.tolist() == list(range(1, 11))
    assert (propagator.started, propagator.corrected) == (8, 72)


def test_a_track_that_the_memory_deleted_is_not_bridged():
    config = AssociationConfig(min_hits=2, max_age_s=0.25)
    tracker = DetectAndTrack(Blinking(range(5, 12)), IdentityMemory(config))
    tracker = DetectAndPropagate(tracker, ColorPropagator(), config.max_age_s)
    found = [tracker.step(image, number / 10) for number, image in enumerate(moving(12))]
    assert [len(each) for each in found[5:]] == [2, 2, 1, 1, 1, 1, 1]


class Follower:
    """A prompted tracker in images at 10 Hz, whose detector misses red in those images that `missed` has."""

    def __init__(self, missed, max_age_s=0.5, **options):
        config = AssociationConfig(min_hits=2, max_age_s=max_age_s)
        self.propagator = ColorPropagator()
        self.tracker = DetectAndPropagate(
            DetectAndTrack(Missing(missed), IdentityMemory(config)), self.propagator, max_age_s, **options
        )
        self.time = 0

    def step(self, image):
        self.tracker._tracker._engine.time = self.time
        self.time += 1
        return self.tracker.step(image, self.time / 10)


class Missing(PatchEngine):
    """Misses everything red in the images with a number in `missed`, and in those that a prompt asks about then."""

    def __init__(self, missed):
        super().__init__()
        self.missed, self.time = missed, 0

    def infer(self, images):
        (found,) = super().infer(images)
        return [found[found.class_ids != 2] if self.time in self.missed else found]


def state_of(found, number):
    return found.states[ids(found).index(number)] if number in ids(found) else None


def test_a_prompt_names_the_track_that_is_there_and_it_is_followed_where_the_detector_misses_it():
    follower = Follower(range(5, 40))
    images = moving(40)
    for image in images[:5]:
        found = follower.step(image)
    red = ids(found)[found.class_ids.tolist().index(2)]
    assert follower.tracker.prompt(mask=mask_of(images[4], RED)) == red
    for image in images[5:40]:  # far longer than the bridge of other tracks and than max_age_s
        found = follower.step(image)
        index = ids(found).index(red)
        assert found.states[index] == BRIDGED and found.hits[index] == 5
        assert (found.full_mask(index) == mask_of(image, RED)).all() and found.names[index] == 'red'
    found = follower.step(images[-1])
    assert state_of(found, red) == CONFIRMED and found.hits[ids(found).index(red)] == 6, 'the memory has kept it'
    follower.tracker.forget(red)
    assert not follower.propagator.object_ids or red not in follower.propagator.object_ids
    with pytest.raises(PromptError, match=f'no track {red} from a prompt to forget; tracks are: none'):
        follower.tracker.forget(red)


def test_a_prompt_on_what_the_detector_does_not_know_starts_a_track_that_it_may_join_later():
    follower = Follower(range(20), only_prompted=True)
    images = moving(24)
    for image in images[:2]:
        found = follower.step(image)
    (blue,) = ids(found)
    assert not follower.propagator.object_ids, 'only prompted tracks are propagated'
    number = follower.tracker.prompt(box=(9, 19, 37, 45))
    assert number != blue
    for image in images[2:8]:
        found = follower.step(image)
        index = ids(found).index(number)
        assert (found.states[index], found.names[index]) == (BRIDGED, 'object') and len(found) == 2
        assert (found.full_mask(index) == mask_of(image, RED)).all()
    last = found.boxes[index].tolist()
    hidden = draw(square(110, color=BLUE))
    for _ in range(10):
        found = follower.step(hidden)
        index = ids(found).index(number)
        assert found.states[index] == LOST and not found.masks[index].any() and found.boxes[index].tolist() == last
    assert follower.tracker.lost == 1
    for image in images[18:24]:
        found = follower.step(image)
        seen = follower.time > 20
        assert ids(found) == [blue, number] and follower.tracker.lost == 0
        assert state_of(found, number) == (CONFIRMED if seen else BRIDGED)
    assert found.names[ids(found).index(number)] == 'red', 'named by its detections'
    follower.tracker.reset()
    assert not follower.propagator.object_ids


def test_a_prompt_of_an_older_image_finds_the_track_that_was_there():
    follower = Follower(range(5, 9))
    images = [draw(square(10 + 20 * time)) for time in range(5)]
    for image in images:
        (red,) = ids(follower.step(image))
    assert follower.tracker.prompt(mask=mask_of(images[1], RED), stamp=0.2) == red
    assert len(follower.step(images[4])) == 1


def test_a_lost_track_keeps_its_place_in_images_of_another_size():
    follower = Follower(())
    image = draw(square(10), square(110, color=BLUE))
    follower.step(image)
    red = follower.tracker.prompt(mask=mask_of(image, RED))
    hidden = draw(square(110, color=BLUE))
    assert state_of(follower.step(hidden), red) == LOST
    for height, width in ((192, 320), (96, 320), (96, 160)):  # the camera changes its mode
        resized = cv2.resize(hidden, (width, height), interpolation=cv2.INTER_NEAREST)
        found = follower.step(resized)
        index = ids(found).index(red)
        scale = np.array([width / 160, height / 96] * 2)
        assert found.image_size == (height, width) and found.states[index] == LOST and not found.masks[index].any()
        for box in (found.boxes[index], found.rois[index]):
            assert (box == [10, 20, 34, 44] * scale).all()
    assert state_of(follower.step(image), red) == CONFIRMED


def test_prompts_that_cannot_be_used_change_nothing():
    tracker = Follower(range(100)).tracker
    with pytest.raises(PromptError, match='no image has arrived yet'):
        tracker.prompt(point=(3, 3))
    follower = Follower(range(100))
    patches = [square(2 + 30 * (n % 5), 2 + 30 * (n // 5), 20) for n in range(9)]
    image = draw(*patches)
    follower.step(image)
    for reason, prompt in {
        'too small': {'mask': mask_of(draw(square(5, side=3)), RED)},
        'is empty': {'mask': np.zeros((96, 160), bool)},
        'no object at the point': {'point': (150, 90)},
        'before the newest image': {'point': (3, 3), 'stamp': -5.0},
    }.items():
        with pytest.raises(PromptError, match=reason):
            follower.tracker.prompt(**prompt)
    assert not follower.propagator.object_ids and not follower.tracker.identities
    for x0, y0, x1, y1, _ in patches[:8]:
        mask = np.zeros((96, 160), bool)
        mask[y0:y1, x0:x1] = True
        follower.tracker.prompt(mask=mask)
    with pytest.raises(PromptError, match='8 objects from prompts are followed, which is the limit'):
        follower.tracker.prompt(mask=mask)


def test_a_detector_without_bridge_says_what_to_set():
    with pytest.raises(PromptError, match='set bridge to feelvos'):
        DetectAndTrack(PatchEngine(), IdentityMemory()).prompt(point=(3, 3))
