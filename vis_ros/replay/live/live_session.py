"""LiveSession: plays a recording to a running node, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.image_decoder import ImageDecoder
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.live.camera_stream import CameraStream
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.read_ahead import ReadAhead
from vis_ros.replay.live.routes import Route
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.replay.live.timed_images import TimedImage, TimedImages
from vis_ros.ros.stamps import NS_PER_S, REGRESSION_TOLERANCE_NS
from vis_ros.video.video_decoder import NoPixels

LATE_MS = 10.0
"""An image is late if it is published more than this after its time."""

_LEAD_NS = NS_PER_S // 10  # wall time from the start of /clock to the first image: the node sees the jump first
_LONGEST_PAUSE_NS = 60 * NS_PER_S  # longer ones are skipped: a break, or a correction of the recorder's clock
_RESEND_S = 0.5


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of a live replay in seconds.

    appear: until the node appears in the ROS graph.
    active: from then on, until it is active and has subscribed.
    first_reply: until it replies to an image.
    drain: at the end of a round, without another reply.
    """

    appear: float = 20.0
    active: float = 300.0
    first_reply: float = 30.0
    drain: float = 10.0


class PublishTiming:
    """How closely the images were published at their times.

    late: number of images that were late; latest_ms: largest delay in milliseconds.
    """

    def __init__(self) -> None:
        self.late = 0
        self.latest_ms = 0.0
        self._intervals = 0
        self._played_ns = 0
        self._recorded_ns = 0.0

    def add(self, delay_ns: int) -> None:
        """Count an image that was published with a delay."""
        self.late += delay_ns > LATE_MS * 1e6
        self.latest_ms = max(self.latest_ms, delay_ns / 1e6)

    def add_interval(self, played_ns: int, recorded_ns: float) -> None:
        """Count the interval between two images, as played and as it should have been."""
        self._intervals += 1
        self._played_ns += played_ns
        self._recorded_ns += recorded_ns

    @property
    def rate_hz(self) -> float:
        """Images per second that were published; 0 if unknown."""
        return self._intervals * NS_PER_S / self._played_ns if self._played_ns else 0.0

    @property
    def recorded_hz(self) -> float:
        """Images per second that should have been published; 0 if unknown."""
        return self._intervals * NS_PER_S / self._recorded_ns if self._recorded_ns else 0.0


class LiveSession:
    """The replay of a recording at a node that is active. The arguments are those of `replay_live`.

    streams: by topic of the recording.
    parameters: of the node.
    rounds: number of rounds that were started.
    timing: of all images.
    skipped: number of images of the last round that could not be read; last_problem: why the last one could not.
    stopped_early: '' if all rounds were played, INTERRUPTED, or why the replay ended.
    """

    def __init__(
        self,
        player: Player,
        node: RunningNode,
        images: TimedImages,
        routes: Sequence[Route],
        bag: BagWriter,
        *,
        rate: float,
        loop: int,
        copy_images: bool,
        timeouts: Timeouts,
    ) -> None:
        self.node = node
        self.images = images
        self.rate = rate
        self.loop = loop
        self.streams = {
            route.recorded_topic: CameraStream(player, route, bag, copy_images=copy_images) for route in routes
        }
        self.parameters = node.parameters()
        self.rounds = 0
        self.timing = PublishTiming()
        self.skipped = 0
        self.last_problem = ''
        self.stopped_early = ''
        self._player = player
        self._timeouts = timeouts

    def connect(self) -> None:
        """Send the first image to each camera until the node replies. The node is reset before and after.

        Without the first reset, the node would drop the image as out of order if the previous replay ended right after
        its start.

        Raises:
            TimeoutError: the node does not reply; the message says why, if that is known.
            ConnectionError: it cannot be reset.
            KeyboardInterrupt: the player was stopped.
            ValueError: a topic has no image that can be read.
        """
        firsts = [image for topic in self.streams for image in islice(self._readable(topic), 1)]
        if len(firsts) < len(self.streams):
            raise ValueError(f'{self.images.description}: no image of one of the topics can be read')
        self.node.reset()
        self._start_clock(min(image.recorded_ns for image in firsts), 0.0)
        for image in firsts:
            self._connect(self.streams[image.topic], image)
        self.node.reset()
        for stream in self.streams.values():
            stream.unknown = 0

    def _readable(self, topic: str) -> Iterator[TimedImage]:
        """The images of a topic without the packets of a video that have none, as before its first key frame."""
        decoder: ImageDecoder[TimedImage] = ImageDecoder(self.images.topics[topic], None, lambda image, error: None)
        for image in self.images.read([topic]):
            for found, pixels in decoder.take(image, image.data):
                if not isinstance(pixels, NoPixels):
                    yield found

    def _connect(self, stream: CameraStream, image: TimedImage) -> None:
        """Each copy gets a stamp that no recorded image has, so that a late reply cannot be mistaken for another."""
        end = time.monotonic() + self._timeouts.first_reply
        stamp_ns = image.stamp_ns
        while stream.newest_stamp_ns is None:
            if self._player.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > end:
                raise TimeoutError(self._no_reply(stream.route))
            stamp_ns += 1
            stream.send_probe(image, stamp_ns)
            self._player.run(_RESEND_S, lambda: stream.newest_stamp_ns is not None)
        self._player.run(self._timeouts.drain, lambda: stream.newest_stamp_ns == stamp_ns)

    def _no_reply(self, route: Route) -> str:
        camera = route.camera
        text = (
            f'{self.node.name} is subscribed to {camera.image_topic}, but published no result on '
            f'{camera.instances_topic} within {self._timeouts.first_reply:.0f} s. Subscriptions matched by DDS: '
            f'{self._player.subscribers(camera.image_topic)}'
        )
        issue = self.node.status.issues.get(camera.name or 'camera')
        return f'{text}. The node reports: {issue}' if issue else text

    def play(self, on_image: Callable[[], None]) -> None:
        """Play all rounds, until something ends the replay early.

        Args:
            on_image: called after each published image.
        """
        while self.rounds < self.loop and not self.stopped_early:
            self._play_round(on_image)
            if self._player.stopped:
                self.stopped_early = self.stopped_early or INTERRUPTED
            elif self.rounds < self.loop:
                self.stopped_early = self.stopped_early or self._too_short_to_loop()
                if not self.stopped_early:
                    self.node.reset()  # without simulated time, the node would believe only the round's second stamp

    def _play_round(self, on_image: Callable[[], None]) -> None:
        """Publish the recording once, and wait for the last replies."""
        self.rounds += 1
        disturbance = damage = ''
        try:
            with ReadAhead(self.images.read(tuple(self.streams))) as images:
                disturbance = self._publish(images, on_image)
        except ValueError as error:  # the recording is damaged from here on; the results so far are useful
            damage = str(error)
        self.skipped, self.last_problem = self.images.skipped, self.images.last_problem
        if not disturbance:
            self._drain()
        for stream in self.streams.values():
            stream.forget_in_flight()
        self.stopped_early = disturbance or damage

    def _publish(self, images: Iterable[TimedImage], on_image: Callable[[], None]) -> str:
        """Publish images at their times. Returns what disturbed the replay, or ''."""
        recorded_ns = sent_ns = 0
        for image in images:
            step_ns = image.recorded_ns - recorded_ns
            is_continued = sent_ns > 0 and -REGRESSION_TOLERANCE_NS <= step_ns <= _LONGEST_PAUSE_NS
            if not is_continued:
                self._start_clock(image.recorded_ns, self.rate)
            due_ns = self._player.due_ns(image.recorded_ns)
            if not self._player.run_until(due_ns):
                return ''
            stream = self.streams[image.topic]
            previous_ns, sent_ns = sent_ns, stream.send(image, self.rounds)
            self.timing.add(sent_ns - due_ns)
            if is_continued:
                self.timing.add_interval(sent_ns - previous_ns, step_ns / self.rate)
            recorded_ns = image.recorded_ns
            on_image()
            if disturbance := self._disturbance(stream.route.camera.image_topic):
                return disturbance
        return ''

    def _start_clock(self, first_ns: int, rate: float) -> None:
        """Start /clock shortly before the time of the next image."""
        self._player.set_clock(first_ns - round(_LEAD_NS * self.rate), rate)

    def _disturbance(self, image_topic: str) -> str:
        """Why the results would be useless from now on, or ''."""
        if not self._player.subscribers(image_topic):
            return f'{self.node.name} is gone'
        client = self._player.node
        for topic in (image_topic, '/clock'):
            if client.count_publishers(topic) > 1:
                publishers = client.get_publishers_info_by_topic(topic)
                names = {f'{each.node_namespace.rstrip("/")}/{each.node_name}' for each in publishers}
                names.discard(client.get_fully_qualified_name())
                # DDS may discover a publisher before it knows the name of its node.
                others = sorted(name for name in names if '_UNKNOWN_' not in name)
                return f'{", ".join(others) or "another node"} also publishes on {topic}: stop it first'
        return ''

    def _too_short_to_loop(self) -> str:
        """Why another round would not start a new epoch in the node, or ''."""
        for stream in self.streams.values():
            if stream.stamp_span_ns <= REGRESSION_TOLERANCE_NS:
                return (
                    f'the stamps on {stream.route.camera.image_topic} span only {stream.stamp_span_ns / 1e9:.1f} s: a '
                    'node takes a step back this small for images out of order. Play the recording once'
                )
        return ''

    def _drain(self) -> None:
        """Wait for the remaining replies, until there has been none for a while."""
        count = self._in_flight()
        while count and self._player.run(self._timeouts.drain, partial(self._has_fewer_in_flight, count)):
            count = self._in_flight()

    def _has_fewer_in_flight(self, count: int) -> bool:
        return self._in_flight() < count

    def _in_flight(self) -> int:
        return sum(stream.in_flight for stream in self.streams.values())
