"""A video of colored rectangles, a bag of it, and the results of the tracker for any of its images."""

import json

import numpy as np
from rclpy.serialization import serialize_message

from helpers.image_messages import compressed_message, image_message
from helpers.rectangles import BLUE, RED, RectangleEngine, draw
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE
from vis_ros.replay.records import frame_record
from vis_ros.ros.stamps import to_time
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

START_NS, PERIOD_NS, DELAY_NS = 1_000_000_000_789, 40_000_000, 3_000_000
FRAMES = 30


def scene(index):
    """A red rectangle that moves to the right; from FRAMES // 2 on also a blue one that moves to the left."""
    shapes = [(2 + index % 50, 4, 12 + index % 50, 14, RED)]
    if index >= FRAMES // 2:
        shapes.append((40 - index % 40, 30, 50 - index % 40, 40, BLUE))
    return draw(*shapes)


def stamp_of(index):
    """Stamp of an image in nanoseconds."""
    return START_NS + index * PERIOD_NS


def write_bag(path, topics=('/camera/image',), frames=FRAMES, stamp=stamp_of):
    """The video on each topic, recorded DELAY_NS after its stamps. Returns the serialized images of the first topic."""
    written = []
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, COMPRESSED_TYPE if topic.endswith('/compressed') else IMAGE_TYPE)
        for index in range(frames):
            for topic in topics:
                is_compressed = topic.endswith('/compressed')
                image = scene(index)
                message = compressed_message(image, 'png') if is_compressed else image_message(image)
                message.header.stamp, message.header.frame_id = to_time(stamp(index)), 'optical'
                data = serialize_message(message)
                bag.write(topic, stamp_of(index) + DELAY_NS, data)
                written += [data] if topic == topics[0] else []
    return written


class SceneTracker:
    """The tracker of the node, without a node. It processes some images of the scene, in order."""

    def __init__(self):
        self._tracker = Model(Settings(), RectangleEngine).tracker()
        self.first_ns = None

    def step(self, index, stamp_ns):
        """The tracked objects of an image, ascending by track id."""
        self.first_ns = stamp_ns if self.first_ns is None else self.first_ns
        instances = self._tracker.step(scene(index), (stamp_ns - self.first_ns) / 1e9)
        unknown = np.full((len(instances), 3), np.nan, np.float32)  # as in a message without depth
        return instances.with_fields(positions=unknown)[np.argsort(instances.track_ids)]


def expected_records(records, frames):
    """The lines of results.jsonl that the tracker writes if it processes exactly the images of some other lines.

    Args:
        records: lines of results.jsonl of one epoch.
        frames: length of the video.
    """
    tracker = SceneTracker()
    expected = []
    for record in records:
        instances = tracker.step(record['index'] % frames, record['stamp_ns'])
        line = frame_record(
            record['index'], record['stamp_ns'], record['name'], record['epoch'], instances, origin_ns=tracker.first_ns
        )
        of_the_node = {key: record[key] for key in ('frame_id', 'sequence', 'dropped', 'latency', 'round')}
        expected.append(json.loads(json.dumps(line | of_the_node)))
    return expected
