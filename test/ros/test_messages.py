"""Conversion of instances to messages and back."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from vis_ros.msg import InstanceMask, InstanceMaskArray

from vis_ros.instances import Instances
from vis_ros.masks.encodings import ENCODINGS
from vis_ros.ros.messages import label_image, to_image, to_instances
from vis_ros.ros.serialized_instances import MessageContext, encode_masks, serialized_instances

CLASS_NAMES = [f'class {number}' for number in range(90)]


def frame(**fields):
    header = Header(stamp=Time(sec=1_700_000_000, nanosec=5), frame_id='camera')
    return MessageContext(**{'header': header, 'epoch': 3, 'sequence': 4, 'dropped': 5, 'model': 'm', **fields})


def to_message(instances, context, encoding='mono8'):
    data = serialized_instances(instances, context, encode_masks(instances, encoding))
    return deserialize_message(data, InstanceMaskArray)


def tracked(count, seed=0, height=40, width=60):
    generator = np.random.default_rng(seed)
    corners = np.sort(generator.integers(0, (width + 1, height + 1), (count, 2, 2)), 1).reshape(count, 4)
    return Instances(
        image_size=(height, width),
        boxes=corners,
        scores=generator.random(count),
        class_ids=generator.integers(0, 90, count),
        rois=corners,
        masks=[generator.integers(0, 2, (y1 - y0, x1 - x0), np.uint8) for x0, y0, x1, y1 in corners],
        track_ids=generator.permutation(count) + 1,
        match_scores=generator.random(count),
        hits=generator.integers(1, 2**32, count),
        states=generator.integers(0, 2, count),
        first_seen=generator.random(count) * 1000,
        positions=np.where(generator.random((count, 1)) < 0.5, np.nan, generator.normal(size=(count, 3))),
    )


@pytest.mark.parametrize('encoding', ['mono8', 'bits', 'rle', 'png'])
@pytest.mark.parametrize('count', [0, 1, 12])
def test_instances_survive_conversion_to_a_message_and_back(encoding, count):
    before = tracked(count)
    message = to_message(before, frame(), encoding)
    after = to_instances(message)
    expected = before[np.argsort(before.track_ids)]
    for name in ('scores', 'class_ids', 'rois', 'track_ids', 'match_scores', 'hits', 'states', 'positions'):
        np.testing.assert_array_equal(getattr(after, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(after.first_seen, expected.first_seen, atol=1e-9)
    assert after.image_size == (40, 60)
    for mask, wanted in zip(after.masks, expected.masks, strict=True):
        np.testing.assert_array_equal(mask, wanted)
    assert [m.class_name for m in message.instances] == [CLASS_NAMES[i] for i in expected.class_ids]


def test_fields_of_the_context_are_copied():
    message = to_message(tracked(2), frame(latency_ns=1_500_000_000))
    assert (message.epoch, message.sequence, message.dropped, message.model) == (3, 4, 5, 'm')
    assert (message.latency.sec, message.latency.nanosec) == (1, 500_000_000)
    assert message.header.frame_id == 'camera' and message.header.stamp.nanosec == 5
    negative = to_message(tracked(2), frame(latency_ns=-1)).latency
    assert (negative.sec, negative.nanosec) == (-1, 999_999_999)


def test_first_seen_counts_from_the_origin_to_the_nanosecond():
    one = tracked(1).with_fields(first_seen=np.array([86_400.123456789]))
    (found,) = to_message(one, frame(origin_ns=1_700_000_000_000_000_001)).instances
    assert (found.first_seen.sec, found.first_seen.nanosec) == (1_700_086_400, 123_456_790)


@pytest.mark.parametrize(('seconds', 'sec'), [(-5.0, 0), (5e9, 2**31 - 1)])
def test_first_seen_stays_within_what_a_time_can_hold(seconds, sec):
    (found,) = to_message(tracked(1).with_fields(first_seen=np.array([seconds])), frame()).instances
    assert found.first_seen.sec == sec


def test_objects_without_a_track_are_left_out_and_untracked_instances_are_an_error():
    some = tracked(3).with_fields(track_ids=np.array([0, 7, 0]))
    assert [found.track_id for found in to_message(some, frame()).instances] == [7]
    with pytest.raises(ValueError, match='track_ids'):
        to_message(Instances.empty((4, 4)), frame())


def test_messages_without_masks_give_empty_masks():
    after = to_instances(to_message(tracked(3), frame(), 'none'))
    assert [int(mask.sum()) for mask in after.masks] == [0, 0, 0]


def test_a_mask_that_does_not_fill_its_window_is_an_error():
    message = to_message(tracked(1), frame())
    message.instances[0].mask_data.append(0)
    with pytest.raises(ValueError, match='mono8'):
        to_instances(message)


def test_encodings_and_states_equal_the_constants_of_the_message():
    from vis_ros.instances import CONFIRMED, TENTATIVE

    assert (InstanceMask.TENTATIVE, InstanceMask.CONFIRMED) == (TENTATIVE, CONFIRMED)
    assert {name: getattr(InstanceMask, f'MASK_{name.upper()}') for name in ENCODINGS} == ENCODINGS


def test_label_image_shows_the_higher_score_where_masks_overlap():
    square = np.ones((4, 4), np.uint8)
    two = Instances(
        image_size=(6, 6), boxes=[[0, 0, 4, 4], [2, 2, 6, 6]], scores=[0.9, 0.5], class_ids=[0, 0],
        rois=[[0, 0, 4, 4], [2, 2, 6, 6]], masks=[square, square],
    )  # fmt: skip
    truth = np.zeros((6, 6), np.uint16)
    truth[2:, 2:] = 2
    truth[:4, :4] = 1
    np.testing.assert_array_equal(label_image(two), truth)


@pytest.mark.parametrize(
    ('pixels', 'encoding', 'step'),
    [
        (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), 'bgr8', 12),
        (np.arange(8, dtype=np.uint16).reshape(2, 4), 'mono16', 8),
        (np.arange(48, dtype=np.uint8).reshape(2, 8, 3)[:, ::2], 'bgr8', 12),
    ],
)
def test_image_messages(pixels, encoding, step):
    message = to_image(pixels, encoding, Header(frame_id='camera'))
    assert (message.height, message.width, message.step, message.encoding) == (2, 4, step, encoding)
    assert message.data.tobytes() == pixels.tobytes() and message.header.frame_id == 'camera'
