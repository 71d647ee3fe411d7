"""DetectAndPropagate: gaps of a detector bridged by a propagator of colors."""

import numpy as np
from helpers.color_propagator import BLUE, RED, ColorPropagator, draw, mask_of
from helpers.patches import PatchEngine, square

from vis_ros.instances import BRIDGED, CONFIRMED, Instances
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_propagate import DetectAndPropagate
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory


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

        def step(self, image, stamp):
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
