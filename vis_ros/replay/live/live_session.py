"""LiveSession: one replay at a running node, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from rclpy.node import Node

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import with_stamp
from vis_ros.replay.live.camera_replies import CameraReplies, Sent, wall_ns
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.read_ahead import ReadAhead
from vis_ros.replay.live.routes import Route
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.replay.live.timed_images import TimedImage, TimedImages
from vis_ros.ros.stamps import REGRESSION_TOLERANCE_NS

LATE_MS = 10.0
"""An image that is published so much after its time is late."""

_LEAD_NS = 100_000_000  # wall time from the start of /clock to the first image: the node sees a jump before the image
_LONGEST_PAUSE_NS = 60_000_000_000  # a longer one is skipped: nobody waits for it, or the clock was set right
_RESEND_S = 0.5


@dataclass(frozen=True)
class Patience:
    """How many seconds to wait: for the node to appear, from then on until it is active, for its first answer to an
    image, and for the answers to the last images of a round.
    """

    appear: float = 20.0
    ready: float = 300.0
    hear: float = 30.0
    linger: float = 10.0


class CameraStream:
    """What was sent to one camera, and what it answered."""

    def __init__(self, route: Route, answers: CameraReplies) -> None:
        self.route = route
        self.answers = answers
        self.sent = 0
        self.oldest_ns, self.newest_ns = 2**63, 0  # stamps


class LiveSession:
    """Everything between finding the node and writing the results; arguments as of `replay_live`.

    streams: by topic of the recording.
    rounds: how many were begun; late: how many images were; latest_ms: by how much the last of them all.
    intervals, played_s, recorded_s: between how many pairs of images of a round, and how long that took, as played and
        by the recording at its rate.
    stopped_early: why the replay ended before its end, or ''.
    """

    def __init__(
        self,
        node: Node,
        player: Player,
        target: RunningNode,
        images: TimedImages,
        routes: Sequence[Route],
        bag: BagWriter,
        *,
        rate: float,
        copy_images: bool,
        patience: Patience,
    ) -> None:
        self.rounds = self.late = self.intervals = 0
        self.latest_ms = self.played_s = self.recorded_s = 0.0
        self.stopped_early = ''
        self._player = player
        self._target = target
        self._images = images
        self._bag = bag
        self._rate = rate
        self._copy_images = copy_images
        self._patience = patience
        self.streams: dict[str, CameraStream] = {}
        self._node = node
        for route in routes:
            camera = route.camera
            player.add_topic(camera.image_topic, camera.image_type)
            if copy_images:
                bag.add_topic(camera.image_topic, camera.image_type)
            self.streams[route.recorded] = CameraStream(route, CameraReplies(node, camera.instances_topic, bag))

    @property
    def stopped(self) -> bool:
        """Whether a signal ended it."""
        return self._player.stopped

    def introduce(self) -> None:
        """Send the first image to each camera until it is answered, then make the node forget it.

        Raises:
            TimeoutError: no answer; says why, as far as that is known.
            KeyboardInterrupt: the player was stopped.
            ValueError: there is no first image.
        """
        firsts = [image for topic in self.streams for image in islice(self._images.read([topic]), 1)]
        if len(firsts) < len(self.streams):
            raise ValueError(f'{self._images.description}: there is a topic of which no image can be read')
        self._set_clock(min(image.recorded_ns for image in firsts), 0.0)
        for image in firsts:
            self._introduce(self.streams[image.topic], image)
        self._target.reset()
        for stream in self.streams.values():
            stream.answers.unknown = 0

    def _introduce(self, stream: CameraStream, image: TimedImage) -> None:
        """Each copy has a stamp that no image of the recording has: an answer that comes late is not mistaken."""
        answers, topic = stream.answers, stream.route.camera.image_topic
        end = time.monotonic() + self._patience.hear
        stamp_ns = image.stamp_ns
        while answers.newest_stamp_ns is None:
            if self._player.stopped:
                raise KeyboardInterrupt
            if time.monotonic() > end:
                raise TimeoutError(self._unheard(stream.route))
            stamp_ns += 1
            self._player.publish(topic, with_stamp(image.data, stamp_ns))
            self._player.run(_RESEND_S, lambda: answers.newest_stamp_ns is not None)
        self._player.run(self._patience.linger, lambda: answers.newest_stamp_ns == stamp_ns)

    def _unheard(self, route: Route) -> str:
        camera, status = route.camera, self._target.status
        reasons = [f'subscribers that DDS has connected: {self._player.subscribers(camera.image_topic)}']
        if complaint := status.throttled_log.get(camera.name or 'camera'):
            reasons.append(f'the node says: {complaint}')
        return (
            f'{self._target.name} listens to {camera.image_topic}, but answered none of the images within '
            f'{self._patience.hear:.0f} s on {camera.instances_topic}; {"; ".join(reasons)}'
        )

    def _set_clock(self, first_ns: int, rate: float) -> None:
        """Let /clock run at a rate, from a little before the time of the next image on."""
        self._player.set_clock(first_ns - round(_LEAD_NS * self._rate), rate)

    def play(self, on_image: Callable[[], None], again: bool) -> None:
        """One round, from the first image of the recording until the last answer is here.

        Args:
            on_image: called after each image.
            again: whether another round follows.
        """
        self.rounds += 1
        try:
            with ReadAhead(self._images.read(tuple(self.streams))) as ahead:
                self._play(ahead, on_image)
        except ValueError as error:  # the recording breaks off; what came back so far is worth keeping
            self.stopped_early = str(error)
        if not self.stopped_early:
            self._linger()
        for stream in self.streams.values():
            stream.answers.give_up()
            if again and not self.stopped_early and stream.newest_ns - stream.oldest_ns <= REGRESSION_TOLERANCE_NS:
                seconds = (stream.newest_ns - stream.oldest_ns) / 1e9
                self.stopped_early = (
                    f'the stamps on {stream.route.camera.image_topic} go over {seconds:.1f} s only: a node takes so '
                    'small a step back for images out of order. Play it once'
                )

    def _play(self, images: Iterable[TimedImage], on_image: Callable[[], None]) -> None:
        recorded_ns = sent_ns = 0
        for image in images:
            step_ns = image.recorded_ns - recorded_ns
            begins = not sent_ns or not -REGRESSION_TOLERANCE_NS <= step_ns <= _LONGEST_PAUSE_NS
            if begins:
                self._set_clock(image.recorded_ns, self._rate)
            due_ns = self._player.due_ns(image.recorded_ns)
            if not self._player.run_until(due_ns):
                return
            before_ns, sent_ns = sent_ns, self._send(image)
            self._note_lateness(sent_ns - due_ns)
            if not begins:
                self.intervals += 1
                self.played_s += (sent_ns - before_ns) / 1e9
                self.recorded_s += step_ns / self._rate / 1e9
            recorded_ns = image.recorded_ns
            on_image()
            self.stopped_early = self._disturbance(self.streams[image.topic].route.camera.image_topic)
            if self.stopped_early:
                return

    def _send(self, image: TimedImage) -> int:
        """Publish an image and expect its answer; returns when it was published."""
        stream = self.streams[image.topic]
        topic = stream.route.camera.image_topic
        sent_ns = self._player.publish(topic, image.data, image.recorded_ns)
        stream.answers.expect(Sent(stream.sent, self.rounds, image.name, image.stamp_ns, image.taken_ns, sent_ns))
        stream.sent += 1
        stream.oldest_ns = min(stream.oldest_ns, image.stamp_ns)
        stream.newest_ns = max(stream.newest_ns, image.stamp_ns)
        if self._copy_images:
            self._bag.write(topic, wall_ns(sent_ns), image.data)
        return sent_ns

    def _disturbance(self, image_topic: str) -> str:
        """What makes it senseless to go on, or ''."""
        if not self._player.subscribers(image_topic):
            return f'{self._target.name} went away'
        for topic in (image_topic, '/clock'):
            if self._node.count_publishers(topic) > 1:
                publishers = self._node.get_publishers_info_by_topic(topic)
                names = {f'{each.node_namespace.rstrip("/")}/{each.node_name}' for each in publishers}
                # DDS may know a publisher before it knows the name of its node.
                ours = self._node.get_fully_qualified_name()
                others = sorted(name for name in names - {ours} if '_UNKNOWN_' not in name)
                return f'{", ".join(others) or "another node"} publishes on {topic} too: stop it first'
        return ''

    def _note_lateness(self, late_ns: int) -> None:
        self.late += late_ns > LATE_MS * 1e6
        self.latest_ms = max(self.latest_ms, late_ns / 1e6)

    def _linger(self) -> None:
        """Wait for the last answers as long as there is news."""
        left = self._waiting()
        if left and self._player.run(self._patience.linger, lambda: self._waiting() < left):
            self._linger()

    def _waiting(self) -> int:
        return sum(stream.answers.waiting for stream in self.streams.values())
