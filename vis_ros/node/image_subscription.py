"""ImageSubscription: the image topic of one camera, and diagnosis of what can go wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from vis_ros.extras import require
from vis_ros.node.statistics import StreamStatistics
from vis_ros.node.throttled_log import ThrottledLog
from vis_ros.recordings.topics import TRANSPORTS, VIDEO_TYPES
from vis_ros.ros.new_message import message_class
from vis_ros.ros.transport import advice

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

SILENCE_S = 2.0
"""An active camera that receives no image for this many seconds is reported."""

_PERIOD_S = 30.0
"""A lasting problem is logged at most once in this many seconds."""

_MANY_LOST = 10
"""Losing fewer images than this is normal while publisher and subscription discover each other."""


_PACKETS = 30
"""Messages that wait in the middleware where they may be packets of a video, of which none may be left out. They are
taken together: an executor that is late takes one for each callback, and would fall behind by all of them."""


def check_transport(transport: str) -> None:
    """Raise ValueError, with what to install, if images of a transport cannot be received here."""
    kind = TRANSPORTS[transport]
    message_class(kind)
    if kind in VIDEO_TYPES:
        require('video', f'image_transport {transport}')


class ImageSubscription:
    """Subscribed from construction until `destroy`.

    Args:
        node: creates the subscription.
        prefix: of the topic `image`, or ''.
        transport: one of TRANSPORTS: 'raw', or 'compressed' for the topic image/compressed, and so on.
        receive: called with each serialized message, in the executor thread.
        statistics: of the camera; lost images are counted there.
        log: of the camera.
    """

    def __init__(
        self,
        node: LifecycleNode,
        prefix: str,
        transport: str,
        receive: Callable[[bytes], None],
        statistics: StreamStatistics,
        log: ThrottledLog,
    ) -> None:
        self._node = node
        self._statistics = statistics
        self._log = log
        self._published_since: float | None = None
        self._sequence: int | None = None
        self._receive = receive
        # As in image_transport, the other topics are named after the raw one, remapped or not.
        self._raw_topic = node.resolve_topic_name(f'{prefix}image')
        self._type = TRANSPORTS[transport]
        name = f'{prefix}image' if transport == 'raw' else f'{self._raw_topic}/{transport}'
        self._depth = 1 if transport == 'raw' else _PACKETS
        try:
            self._subscription = self._subscribe(name, self.on_lost)
        except UnsupportedEventTypeError:  # not every middleware reports lost messages
            self._subscription = self._subscribe(name, None)
        self.topic: str = self._subscription.topic_name

    def _subscribe(self, topic: str, message_lost: Callable[[Any], None] | None) -> Subscription[Any]:
        """Subscribe to serialized images. The queue for raw ones holds one: if the executor is late, it receives the
        newest.
        """
        return self._node.create_subscription(
            message_class(self._type),
            topic,
            self._on_message if hasattr(Subscription, 'CallbackType') else self._on_bytes,  # not in ROS 2 Humble
            QoSProfile(depth=self._depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible_qos, message_lost=message_lost
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=True,
        )

    def _on_bytes(self, data: bytes) -> None:
        self._on_message(data, {})

    def _on_message(self, data: bytes, information: Any) -> None:
        """Receive a message, and those behind it."""
        self._statistics.takes_messages()
        self._receive_one(data, information)
        for _ in range(self._depth - 1):
            with self._subscription.handle:
                following = self._subscription.handle.take_message(self._subscription.msg_type, True)
            if following is None:
                return
            self._receive_one(*following)

    def _receive_one(self, data: bytes, information: Any) -> None:
        """Count the images that the middleware replaced by newer ones before the executor took them.

        Publishers count their messages, but a message does not say which publisher it is from.
        """
        sequence = information.get('publication_sequence_number')
        last, self._sequence = self._sequence, sequence
        if sequence and last and sequence > last + 1 and self._subscription.get_publisher_count() == 1:
            self._statistics.replaced(sequence - last - 1)
        self._receive(data)

    def destroy(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_incompatible_qos(self, event: Any) -> None:
        self._log.warn(
            'qos',
            f'a publisher of {self._raw_topic} offers incompatible QoS '
            f'({qos_policy_name_from_kind(event.last_policy_kind)}): no image will arrive from it. Change its QoS, or '
            'the QoS of this subscription with a qos_overrides parameter',
        )

    def on_lost(self, event: Any) -> None:
        """Messages were lost in the middleware before they reached the node."""
        self._statistics.lost(_lost_images(event.total_count_change))
        total = self._statistics.counts.lost
        if total >= _MANY_LOST:
            self._log.warn('lost', f'{total} images on {self.topic} were lost in the middleware. {advice()}', _PERIOD_S)

    def silence(self) -> str:
        """What to report if no image arrives; '' if images do."""
        seconds = self._statistics.silence_s()
        if seconds < SILENCE_S:
            return ''
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        self._published_since = (self._published_since or time.monotonic()) if publishers else None
        text = f'no image on {self.topic} for {seconds:.0f} s; publishers: {len(publishers)}'
        others = sorted({publisher.topic_type for publisher in publishers} - {self._type})
        if others:
            text += f', of type {", ".join(others)} instead of {self._type}'
        elif self._never_arrives():
            text += f'. {advice()}'
        self._log.warn('silence', text, _PERIOD_S)
        return text

    def _never_arrives(self) -> bool:
        """Whether there has been a publisher for a while, but not one image has arrived."""
        published_s = 0.0 if self._published_since is None else time.monotonic() - self._published_since
        return published_s > SILENCE_S and not self._statistics.counts.received


def _lost_images(change: int) -> int:
    """How many images an event of the middleware says were lost. Where parts of large images are lost, Fast DDS adds
    2**31 - 1 for none, and its sum overflows 32 bits: 2**64 - 2**31 + 2 tells of three images.
    """
    count = change % 2**32 % (2**31 - 1)
    return count if count < 2**30 else 0
