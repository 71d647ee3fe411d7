"""The packaged FEELVOS model in the node, over DDS: a prompted object of a synthetic scene is hidden for a second."""

import numpy as np
import pytest
from helpers.image_messages import compressed_message
from test_track_object import mono8
from vis_ros.msg import InstanceMask
from vis_ros.srv import TrackObject

from vis_ros.masks.encodings import decode
from vis_ros.synthetic.scene import Scene

SIZE = (288, 512)
FRAMES, HIDDEN = 34, range(12, 22)  # at 10 Hz
WALL = (90, 90, 90)


@pytest.fixture(scope='module')
def video():
    """Images, and the mask of an object that is large in all of them."""
    scene = Scene(seed=3, size=SIZE, frames=FRAMES)
    frames = [scene.frame(time) for time in range(FRAMES)]
    areas = {
        number: min(mask_of(frame, number).sum() for frame in frames)
        for number in set.intersection(*(set(frame.object_ids.tolist()) for frame in frames))
    }
    number = max(areas, key=areas.get)
    assert areas[number] > 800
    return [(frame.image, mask_of(frame, number)) for frame in frames]


def mask_of(frame, number):
    return frame.masks[frame.object_ids.tolist().index(number)]


def hidden(image, mask):
    """The image with a wall in front of the object and its surroundings."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    covered = image.copy()
    covered[max(rows[0] - 25, 0) : rows[-1] + 25, max(columns[0] - 25, 0) : columns[-1] + 25] = WALL
    return covered


def pixels_of(message):
    mask, roi = np.zeros(SIZE, bool), message.roi
    crop = decode(message.mask_data, message.mask_encoding, roi.height, roi.width)
    mask[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width] = crop > 0
    return mask


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_prompted_object_keeps_id_and_mask_through_a_second_behind_a_wall(graph, video):
    graph.start(model='feelvos', start_from='prompts', image_transport='compressed', threads=1)

    def process(image):
        return graph.process(compressed_message(image), topic='/image/compressed')

    first = process(video[0][0])
    answer = graph.call(
        TrackObject,
        '/vis_node/track_object',
        TrackObject.Request(stamp=first.header.stamp, mask=mono8(video[0][1])),
    )
    assert answer.success, answer.message
    overlaps = []
    for time in range(1, FRAMES):
        image, mask = video[time]
        message = process(hidden(image, mask) if time in HIDDEN else image)
        assert [each.track_id for each in message.instances] == [answer.track_id]
        (instance,) = message.instances
        if time in HIDDEN:
            # the object is not visible, whatever the edges of the wall look like
            assert instance.state == InstanceMask.LOST or pixels_of(instance).sum() < mask.sum() / 2
        else:
            overlaps.append(iou(pixels_of(instance), mask))
    assert np.mean(overlaps) > 0.7
    assert np.mean(overlaps[-8:]) > 0.7  # after the wall
