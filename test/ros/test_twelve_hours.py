"""A camera of twelve hours with wrong stamps: identities and epochs as doc/node.md#epochs says, live and offline."""

import json

from builtin_interfaces.msg import Time
from helpers.image_messages import image_message
from helpers.passing_rectangles import ids, scene
from helpers.rectangles import RectangleEngine
from helpers.twelve_hours import MAX_AGE_S, twelve_hours
from rosgraph_msgs.msg import Clock

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import serialize
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.topics import IMAGE_TYPE
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings


def test_a_node_of_twelve_hours(graph):
    node = graph.start(use_sim_time=True, max_age_s=MAX_AGE_S)
    clock = graph.publisher(Clock, '/clock', 1)
    takes = twelve_hours()
    for take in takes:
        clock.publish(Clock(clock=Time(sec=take.clock_s)))
        graph.spin_until(lambda at=take.clock_s: node.get_clock().now().nanoseconds == at * 10**9)
        array = graph.process(scene(0), Time(sec=take.stamp_s))
        assert array.header.stamp == Time(sec=take.stamp_s)
    assert [array.epoch for array in graph.arrays] == [take.epoch for take in takes]
    assert [tuple(ids(array)) for array in graph.arrays] == [take.ids for take in takes]
    graph.spin_until(lambda: graph.logged('jumped back'))
    wrong = 2 + sum(take.stamp_s == 0 or take.is_first for take in takes)
    graph.status(lambda status, values: values['images with wrong stamps'] == str(wrong))


def test_a_replay_of_twelve_hours(tmp_path):
    takes = twelve_hours()
    with BagWriter(tmp_path / 'drive') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
        for take in takes:
            message = image_message(scene(0))
            message.header.stamp.sec = take.stamp_s
            bag.write('/image', take.recorded_s * 10**9, serialize(message, IMAGE_TYPE))
    model = Model(Settings(max_age_s=MAX_AGE_S), engine_factory=RectangleEngine)
    summary = replay([open_recording(tmp_path / 'drive')], model, tmp_path / 'out', codecs=('mp4v',))
    lines = [json.loads(line) for line in (tmp_path / 'out' / 'results.jsonl').read_text().splitlines()]
    # Looking ahead, the first image after time was set is already known to be.
    known = [takes[number + 1] if take.is_first else take for number, take in enumerate(takes)]
    assert [line['epoch'] for line in lines] == [take.epoch - 1 for take in known]
    assert [tuple(each['track_id'] for each in line['instances']) for line in lines] == [take.ids for take in known]
    assert summary.warnings == {
        'stamp far from those before and after it, replaced': 2, 'clock set back': 2, 'invalid stamp': 12, 'gap': 1,
    }  # fmt: skip
    assert not summary.skipped
