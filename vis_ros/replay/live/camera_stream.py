"""CameraStream: the images that are played to one camera of a running node, and its replies."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from rclpy.qos import QoSProfile

from vis_ros.msg import InstanceMaskArray
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import read_header, with_stamp
from vis_ros.recordings.topics import INSTANCES_TYPE
from vis_ros.recordings.video_messages import is_video_packet
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.routes import Route
from vis_ros.replay.live.timed_images import TimedImage

_WALL_NS = time.time_ns() - time.perf_counter_ns()


@dataclass(frozen=True)
class SentImage:
    """An image that was published.

    index: position in the stream, counted over all rounds; round: from 1.
    name, stamp_ns, frame_stamp_ns: as in `TimedImage`.
    sent_ns: when it was published, on the clock of `time.perf_counter_ns`.
    is_video: whether it is a packet of a video, which may be displayed later than those sent after it.
    """

    index: int
    round: int
    name: str
    stamp_ns: int
    frame_stamp_ns: int
    sent_ns: int
    is_video: bool


@dataclass(frozen=True)
class ImageReply:
    """The reply to an image.

    latency_ms: milliseconds of wall time from publishing the image until the reply was received.
    """

    image: SentImage
    latency_ms: float


class CameraStream:
    """Publishes images to a camera and matches the replies of the node with them.

    A node processes images in order and skips some. Therefore a reply belongs to the earliest image with its stamp that
    was published after the image of the previous reply, even if several images have the same stamp. The images of a
    video are processed in the order of display, so one with a later stamp is still expected then.

    Args:
        player: publishes the images.
        route: of the images.
        bag: takes the replies, and the images if `copy_images` is set, at the wall time at which they were received or
            published.

    sent: number of images.
    replies: in the order of their messages in the bag.
    unknown: number of replies to images that were not sent by `send`.
    newest_stamp_ns: stamp of the latest reply to any image; None before the first.
    """

    def __init__(self, player: Player, route: Route, bag: BagWriter, *, copy_images: bool) -> None:
        self.route = route
        self.sent = 0
        self.replies: list[ImageReply] = []
        self.unknown = 0
        self.newest_stamp_ns: int | None = None
        self._player = player
        self._bag = bag
        self._copy_images = copy_images
        self._in_flight: deque[SentImage] = deque()
        self._stamps_ns: tuple[int, int] | None = None
        camera = route.camera
        player.add_topic(camera.image_topic, camera.image_type)
        if copy_images:
            bag.add_topic(camera.image_topic, camera.image_type)
        bag.add_topic(camera.instances_topic, INSTANCES_TYPE)
        publishers = player.node.get_publishers_info_by_topic(camera.instances_topic)
        offered = [publisher.qos_profile.reliability for publisher in publishers]
        quality = QoSProfile(depth=100, reliability=offered[0]) if offered else QoSProfile(depth=100)
        player.node.create_subscription(InstanceMaskArray, camera.instances_topic, self._on_reply, quality, raw=True)

    @property
    def in_flight(self) -> int:
        """Number of images without a reply that come after the image of the latest reply."""
        return len(self._in_flight)

    @property
    def stamp_span_ns(self) -> int:
        """Difference between the newest and the oldest stamp of all images sent."""
        return 0 if self._stamps_ns is None else self._stamps_ns[1] - self._stamps_ns[0]

    def send(self, image: TimedImage, round: int) -> int:
        """Publish an image. Returns the instant, on the clock of `time.perf_counter_ns`."""
        topic = self.route.camera.image_topic
        sent_ns = self._player.publish(topic, image.data, image.recorded_ns)
        is_video = is_video_packet(image.data, self.route.camera.image_type)
        self._in_flight.append(
            SentImage(self.sent, round, image.name, image.stamp_ns, image.frame_stamp_ns, sent_ns, is_video)
        )
        self.sent += 1
        oldest_ns, newest_ns = self._stamps_ns or (image.stamp_ns, image.stamp_ns)
        self._stamps_ns = min(oldest_ns, image.stamp_ns), max(newest_ns, image.stamp_ns)
        if self._copy_images:
            self._bag.write(topic, _wall_ns(sent_ns), image.data)
        return sent_ns

    def send_probe(self, image: TimedImage, stamp_ns: int) -> None:
        """Publish an image with another stamp. It does not count as sent, and its reply is not recorded."""
        self._player.publish(self.route.camera.image_topic, with_stamp(image.data, stamp_ns))

    def forget_in_flight(self) -> None:
        """Expect no more replies to the images sent so far."""
        self._in_flight.clear()

    def _on_reply(self, data: bytes) -> None:
        received_ns = time.perf_counter_ns()
        stamp_ns, _ = read_header(data)
        self.newest_stamp_ns = stamp_ns
        skipped = next((i for i, image in enumerate(self._in_flight) if image.stamp_ns == stamp_ns), None)
        if skipped is None:
            self.unknown += 1
            return
        passed = [self._in_flight.popleft() for _ in range(skipped)]
        image = self._in_flight.popleft()
        self._in_flight.extendleft(each for each in reversed(passed) if each.is_video and each.stamp_ns > stamp_ns)
        self.replies.append(ImageReply(image, (received_ns - image.sent_ns) / 1e6))
        self._bag.write(self.route.camera.instances_topic, _wall_ns(received_ns), data)


def _wall_ns(instant_ns: int) -> int:
    """Nanoseconds since 1970 of an instant on `time.perf_counter_ns`, unaffected by clock corrections."""
    return _WALL_NS + instant_ns
