"""Annotations in bags: round trips, reading with ROS's own code, and every fault of a message."""

import dataclasses

import numpy as np
import pytest
from geometry_msgs.msg import Point
from pycocotools import mask as coco
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header
from vis_ros.msg import InstanceMask, InstanceMaskArray

from vis_ros.datasets.bag_annotations import read_bag, write_bag
from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.masks.encodings import ENCODINGS, encode
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.topics import IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.ros.messages import to_image, to_instances
from vis_ros.ros.stamps import to_time
from vis_ros.synthetic.synthetic_video import scenes

SIZE = (12, 16)
SECOND = 1_000_000_000


def mask(x0, y0, x1, y1):
    whole = np.zeros(SIZE, np.uint8)
    whole[y0:y1, x0:x1] = 1
    return whole


def instance(track_id, whole, class_id=0, class_name='thing', score=0.75, encoding='mono8', **fields):
    """A message built without the code of the package."""
    ys, xs = np.nonzero(whole)
    x0, y0, x1, y1 = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else (0, 0, 0, 0)
    roi = RegionOfInterest(x_offset=int(x0), y_offset=int(y0), width=int(x1 - x0), height=int(y1 - y0))
    message = InstanceMask(
        track_id=track_id, state=1, class_id=class_id, class_name=class_name, score=score, roi=roi,
        position=Point(), mask_encoding=ENCODINGS[encoding],
    )  # fmt: skip
    message.mask_data.frombytes(encode(whole[y0:y1, x0:x1], encoding))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def array(stamp_ns, *instances, epoch=0, model='made'):
    height, width = SIZE
    return InstanceMaskArray(
        header=Header(stamp=to_time(stamp_ns), frame_id='camera'), image_height=height, image_width=width, epoch=epoch,
        model=model, instances=list(instances),
    )  # fmt: skip


def write(path, arrays, topic='/vis_node/instances', images=()):
    """A bag with messages, and with images (stamp, pixels) on /camera/image, recorded at their stamps."""
    with BagWriter(path) as bag:
        bag.add_topic(topic, INSTANCES_TYPE)
        bag.add_topic('/camera/image', IMAGE_TYPE)
        for stamp_ns, pixels in images:
            message = to_image(pixels, 'bgr8', Header(stamp=to_time(stamp_ns)))
            bag.write('/camera/image', stamp_ns, serialize_message(message))
        for index, message in enumerate(arrays):
            bag.write(topic, index, serialize_message(message))
    return path


def assert_same_frames(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.index, a.stamp_ns, a.size) == (b.index, b.stamp_ns, b.size)
        order = np.argsort(b.track_ids)
        np.testing.assert_array_equal(a.track_ids, b.track_ids[order])
        np.testing.assert_array_equal(a.class_ids, b.class_ids[order])
        np.testing.assert_array_equal(a.scores, b.scores[order])
        for one, number in zip(a.masks, order, strict=True):
            np.testing.assert_array_equal(decode(one), decode(b.masks[number]))


def test_what_is_written_is_read_again_with_images(tmp_path):
    made = scenes(2, 8, (60, 80), rate=10.0, seed=3)
    write_bag(made, tmp_path / 'bag')
    read = read_bag(tmp_path / 'bag')
    assert [video.name for video in read.videos] == [video.name for video in made.videos]
    assert read.class_names == made.class_names and read.has_classes
    for found, expected in zip(read.videos, made.videos, strict=True):
        assert len(found) == 8
        assert_same_frames(found, expected)
        for order in (1, -1):  # as recorded, and from the end
            for a, b in list(zip(found, expected, strict=True))[::order]:
                np.testing.assert_array_equal(a.read_image(), b.read_image())


def test_ros_reads_what_is_written(tmp_path):
    made = scenes(1, 5, (60, 80), rate=10.0, seed=3)
    write_bag(made, tmp_path / 'bag')
    reader = BagReader(tmp_path / 'bag')
    (topic,) = reader.of_type(INSTANCES_TYPE)
    assert topic.name == '/truth/instances'
    seen = {}
    for index, ((_, _, data), frame) in enumerate(zip(reader.messages([topic]), made.videos[0], strict=True), start=1):
        message = deserialize_message(data, InstanceMaskArray)
        assert message.sequence == index
        instances = to_instances(message)
        for number, one in enumerate(message.instances):
            position = frame.track_ids.tolist().index(one.track_id)
            np.testing.assert_array_equal(instances.full_mask(number), decode(frame.masks[position]))
            assert one.area == coco.area(frame.masks[position])
            first = seen.setdefault(one.track_id, [frame.stamp_ns, 0])
            first[1] += 1
            assert (one.first_seen.sec * SECOND + one.first_seen.nanosec, one.hits) == tuple(first)


def test_track_ids_of_several_epochs_are_different(tmp_path):
    whole = mask(1, 1, 4, 4)
    arrays = [array(SECOND, instance(1, whole)), array(2 * SECOND, instance(1, whole), epoch=1)]
    (video,) = read_bag(write(tmp_path / 'bag', arrays)).videos
    assert [frame.track_ids.tolist() for frame in video] == [[1], [2**32 + 1]]
    write_bag(read_bag(tmp_path / 'bag'), tmp_path / 'again')
    assert_same_frames(read_bag(tmp_path / 'again').videos[0], video)


@pytest.mark.parametrize('encoding', ['mono8', 'bits', 'rle', 'png'])
def test_every_mask_encoding_is_read(tmp_path, encoding):
    whole = mask(3, 2, 9, 11)
    whole[4, 5] = 0
    (video,) = read_bag(write(tmp_path / 'bag', [array(1, instance(7, whole, encoding=encoding))])).videos
    ((frame,),) = ([*video],)
    np.testing.assert_array_equal(decode(frame.masks[0]), whole)
    assert frame.scores.tolist() == [0.75] and frame.size == SIZE


def test_lost_instances_and_empty_masks_are_left_out(tmp_path):
    lost = instance(1, mask(0, 0, 2, 2), encoding='none', state=InstanceMask.LOST)
    arrays = [array(1, lost, instance(2, mask(0, 0, 0, 0)), instance(3, mask(0, 0, 2, 2))), array(2)]
    (video,) = read_bag(write(tmp_path / 'bag', arrays)).videos
    assert [frame.track_ids.tolist() for frame in video] == [[3], []]


def test_class_names_are_collected_from_all_messages(tmp_path):
    arrays = [array(1, instance(1, mask(0, 0, 2, 2), 2, 'dog')), array(2, instance(2, mask(0, 0, 2, 2), 0, 'cat'))]
    read = read_bag(write(tmp_path / 'bag', arrays))
    assert read.class_names == ('cat', 'class 1', 'dog') and read.settings == {'model': 'made'}


def test_a_repeated_stamp_of_0_means_no_stamps(tmp_path):
    (video,) = read_bag(write(tmp_path / 'timeless', [array(0), array(0)])).videos
    assert [frame.stamp_ns for frame in video] == [None, None]
    (video,) = read_bag(write(tmp_path / 'from_zero', [array(0), array(SECOND)])).videos
    assert [frame.stamp_ns for frame in video] == [0, SECOND], 'a recording may start at 0'


def test_images_are_found_by_stamp_and_a_missing_one_is_an_error(tmp_path):
    pictures = [(stamp, np.full((*SIZE, 3), stamp, np.uint8)) for stamp in (1, 2, 4)]
    (video,) = read_bag(write(tmp_path / 'bag', [array(stamp) for stamp in (4, 3, 1)], images=pictures)).videos
    last, missing, first = video
    assert last.read_image()[0, 0, 0] == 4 and first.read_image()[0, 0, 0] == 1
    with pytest.raises(AnnotationError, match=r'/camera/image, stamp 0\.000000003 s: there is no image'):
        missing.read_image()
    other = [(stamp + 10, pixels) for stamp, pixels in pictures]
    (video,) = read_bag(write(tmp_path / 'other', [array(1)], images=other)).videos
    assert next(iter(video)).read_image is None, 'those are of another recording'


def test_a_repeated_track_id_is_reported_with_bag_topic_stamp_and_id(tmp_path):
    twice = array(5 * SECOND + 7, instance(9, mask(0, 0, 2, 2)), instance(9, mask(5, 5, 8, 8)))
    with pytest.raises(AnnotationError) as caught:
        read_bag(write(tmp_path / 'bag', [array(1), twice]))
    (problem,) = caught.value.problems
    assert str(tmp_path / 'bag') in str(problem)
    assert '/vis_node/instances, stamp 5.000000007 s: track id 9 occurs 2 times, as the association rules paper' in str(
        problem
    )


def test_all_faults_are_reported_at_once(tmp_path):
    good = mask(0, 0, 2, 2)
    arrays = [
        array(1, instance(1, good, encoding='none')),
        array(2, instance(0, good)),
        array(3, instance(1, good, mask_encoding=99)),
        array(4, instance(1, good, roi=RegionOfInterest(x_offset=15, y_offset=0, width=2, height=2))),
        array(5, instance(1, good, score=1.5)),
        array(6, instance(1, good, class_name='other')),
    ]
    with pytest.raises(AnnotationError) as caught:
        read_bag(write(tmp_path / 'bag', arrays))
    expected = [
        'has a box but no mask',
        'track id 0 is not a valid',
        'mask encoding 99',
        'is not inside the image of 16x12',
        'the score is 1.5',
        'class id 0 has several names: other, thing',
    ]
    for text, problem in zip(expected, caught.value.problems, strict=True):
        assert text in str(problem)


def test_invalid_messages_are_reported_with_topic_and_number(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/instances', INSTANCES_TYPE)
        bag.write('/instances', 1, serialize_message(array(1)))
        bag.write('/instances', 2, serialize_message(array(2, instance(1, mask(0, 0, 5, 5))))[:100])
    with pytest.raises(AnnotationError, match=r'/instances, message 1: a message of 100 bytes is no vis_ros'):
        read_bag(tmp_path / 'bag')


def test_a_topic_can_be_chosen_and_an_unknown_one_lists_the_others(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
        for name in ('/vis_node/front/instances', '/vis_node/rear/instances'):
            bag.add_topic(name, INSTANCES_TYPE)
            bag.write(name, 1, serialize_message(array(1)))
    assert [video.name for video in read_bag(tmp_path / 'bag').videos] == ['front', 'rear']
    assert [video.name for video in read_bag(tmp_path / 'bag', 'vis_node/rear/instances').videos] == ['rear']
    listed = r'it has /vis_node/front/instances \(InstanceMaskArray, 1\), /vis_node/rear/instances'
    with pytest.raises(AnnotationError, match=f'no InstanceMaskArray topic /image; {listed}'):
        read_bag(tmp_path / 'bag', '/image')


def test_bags_without_instance_messages_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r'contains no InstanceMaskArray messages: /vis_node/instances'):
        read_bag(write(tmp_path / 'empty', []))
    with BagWriter(tmp_path / 'images') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
    with pytest.raises(AnnotationError, match=r'no InstanceMaskArray topic; its topics are /image \(Image, 0\)'):
        read_bag(tmp_path / 'images')
    with pytest.raises(FileNotFoundError, match='there is no bag'):
        read_bag(tmp_path / 'nowhere')


def test_a_truncated_bag_is_refused(tmp_path):
    file = next(write(tmp_path / 'bag', [array(1), array(2)]).glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(AnnotationError, match=r'bag\.mcap breaks off at byte .*mcap recover'):
        read_bag(file)


class Fixed(AnnotatedVideo):
    def __init__(self, name, frames):
        super().__init__(name, len(frames))
        self.frames = frames

    def __iter__(self):
        return iter(self.frames)


def test_ignored_regions_stay_with_their_frames(tmp_path):
    made = fixed([3], ('a', 'b'))
    region = coco.encode(np.asfortranarray(mask(4, 1, 9, 12)))
    first = made.videos[0].frames
    made.videos[0].frames = [*first, dataclasses.replace(first[1], index=2, stamp_ns=SECOND, ignored=region)]
    made.videos[0].length = 3
    write_bag(made, tmp_path / 'bag')
    read = read_bag(tmp_path / 'bag')
    assert [len(video) for video in read.videos] == [3, 2]
    ignored = [[frame.ignored for frame in video] for video in read.videos]
    assert ignored[0][:2] == ignored[1] == [None, None]
    np.testing.assert_array_equal(decode(ignored[0][2]), decode(region))
    assert list(read.videos[0])[2].read_image is None, 'the regions are not the images'
    with pytest.raises(ValueError, match='no topic with images'):
        open_recording(tmp_path / 'bag')


def fixed(track_ids, names=('a',)):
    masks = [coco.encode(np.asfortranarray(mask(0, 0, 2, 2)))] * len(track_ids)
    frames = [AnnotatedFrame('5', i, None, SIZE, track_ids, [0] * len(masks), [1] * len(masks), masks) for i in (0, 1)]
    return AnnotatedVideos('made', 'made', ('thing',), [Fixed(name, frames) for name in names])


def test_videos_without_a_clock_get_the_stamps_of_an_image_folder(tmp_path):
    write_bag(fixed([3], ('bmx-trees', '01')), tmp_path / 'bag')
    read = read_bag(tmp_path / 'bag')
    assert [video.name for video in read.videos] == ['01', 'bmx-trees'], 'their own names'
    assert [frame.stamp_ns for frame in read.videos[0]] == [0, 33_333_333]


@pytest.mark.parametrize('track_ids', [[0], [1, 2**32 + 1]])
def test_track_ids_that_do_not_fit_into_a_message_are_refused(tmp_path, track_ids):
    with pytest.raises(AnnotationError, match=r'frame 5: the track ids .* do not fit into one message'):
        write_bag(fixed(track_ids), tmp_path / 'bag')


def test_existing_bags_and_equal_topics_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match='have the same topic: a-b, a_b'):
        write_bag(fixed([1], ('a-b', 'a_b')), tmp_path / 'bag')
    (tmp_path / 'there').mkdir()
    with pytest.raises(FileExistsError, match='there exists'):
        write_bag(fixed([1]), tmp_path / 'there')
