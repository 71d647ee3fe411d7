"""Camera: one camera of the node, its topics, its memory and what is known of its stream."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from visualization_msgs.msg import MarkerArray

from vis_ros.images import ImageError, decode_compressed, decode_image
from vis_ros.instances import Instances
from vis_ros.msg import InstanceMaskArray
from vis_ros.node.depth_stream import DepthStream
from vis_ros.node.object_request import ObjectRequest, RequestResult
from vis_ros.node.statistics import StreamStatistics
from vis_ros.node.throttled_log import ThrottledLog
from vis_ros.ros.markers import to_markers
from vis_ros.ros.messages import MessageContext, label_image, to_image, to_message
from vis_ros.ros.stamps import REGRESSION_TOLERANCE_NS, Order, StampOrder, nanoseconds, to_duration
from vis_ros.ros.vision_msgs import DETECTIONS, to_detections
from vis_ros.tracking.prompts import PromptError
from vis_ros.tracking.tracker import Tracker
from vis_ros.visualization import draw_overlay

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

SILENCE_S = 2.0
"""An active camera without images for so long is worth a warning."""

_PERIOD_S = 30.0
"""A state that lasts is logged once in so many seconds."""

_MANY_LOST = 10
"""So many lost images are no accident of the start."""

_TRANSPORT_HINT = (
    'Large best-effort images need a shared-memory transport where they are published: start the publisher with '
    'FASTDDS_DEFAULT_PROFILES_FILE set to config/fastdds_shm.xml of vis_ros'
)
_ONE_JUMP_S = 1.0


class Camera:
    """One camera of the node.

    The executor thread receives images and asks for resets; the worker thread processes. Only the worker touches the
    tracker, so that a reset never waits for a network: it is carried out before the next image.

    Late images (up to REGRESSION_TOLERANCE_NS older than the last processed one: out of order on a network) are
    skipped. A larger step back is time set back, as in a bag that loops: the identities are forgotten. An image of
    another size than the last is processed as any other, and the identities stay: one odd frame must not cost them.

    Args:
        node: whose publishers and subscriptions these are.
        name: prefix of the topics, or ''.
        tracker: of this camera alone.
        class_names: of the model.
        model: what InstanceMaskArray.model says.
        epoch: that of the identities that an earlier Camera of this name gave out.
        depth: one of DEPTH_MODES: whether objects get positions, and whether images are rectified.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        tracker: Tracker,
        class_names: tuple[str, ...],
        model: str,
        epoch: int = 0,
        depth: str = 'none',
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.tracker = tracker
        self.statistics = StreamStatistics()
        self.throttled_log = ThrottledLog(node.get_logger())
        self.topic = ''
        self.mask_encoding = 'mono8'
        self._node = node
        self._class_names = class_names
        self._model = model
        self._subscription: Subscription[Any] | None = None
        self._lock = threading.Lock()
        self._reset_pending = True
        self._order = StampOrder()
        self._clock_at_last = 0
        self._set_back_at = -math.inf
        self._published_since: float | None = None
        self._sequence = 0
        self._image_size: tuple[int, int] | None = None
        self.depth = (
            None if depth == 'none' else DepthStream(node, self._prefix, depth == 'rectified', self.throttled_log)
        )
        self._publishers: list[Any] = []
        try:
            self._instances = self._publisher(InstanceMaskArray, 'instances', 10)
            self._markers = self._publisher(MarkerArray, 'markers', 2)
            self._detections = None if DETECTIONS is None else self._publisher(DETECTIONS, 'detections', 10)
            self._overlay = self._publisher(Image, 'overlay', 2)
            self._instance_image = self._publisher(Image, 'instance_image', 2)
        except Exception:  # a qos_overrides parameter that cannot be
            self.destroy()
            raise

    def _publisher(self, message_type: type, topic: str, depth: int) -> Any:
        publisher: Any = self._node.create_lifecycle_publisher(
            message_type,
            f'~/{self._prefix}{topic}',
            depth,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._publishers.append(publisher)
        return publisher

    @property
    def _prefix(self) -> str:
        return f'{self.name}/' if self.name else ''

    @property
    def identities(self) -> int:
        """How many identities are held in memory."""
        return 0 if self._reset_pending else self.tracker.identities

    # --- executor thread --------------------------------------------------------------------------------------------

    def subscribe(self, transport: str, receive: Callable[[Any], None]) -> None:
        """Begin to receive, with empty statistics; identities of before are forgotten."""
        self.request_reset()
        self.statistics = StreamStatistics()
        # The name of a compressed topic follows that of the raw one, remapped or not, as image_transport has it.
        topic = self._node.resolve_topic_name(f'{self._prefix}image')
        compressed = transport == 'compressed'
        message_type = CompressedImage if compressed else Image
        name = f'{topic}/compressed' if compressed else f'{self._prefix}image'
        try:
            self._subscription = self._create_subscription(message_type, name, receive, message_lost=self._on_lost)
        except UnsupportedEventTypeError:  # not every middleware can tell
            self._subscription = self._create_subscription(message_type, name, receive)
        self.topic = self._subscription.topic_name
        if self.depth is not None:
            self.depth.subscribe()

    def _create_subscription(
        self,
        message_type: type,
        topic: str,
        receive: Callable[[Any], None],
        message_lost: Callable[[Any], None] | None = None,
    ) -> Subscription[Any]:
        return self._node.create_subscription(
            message_type,
            topic,
            receive,
            QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible_qos, message_lost=message_lost
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _on_incompatible_qos(self, event: Any) -> None:
        topic = self._node.resolve_topic_name(f'{self._prefix}image')
        self.throttled_log.warn(
            'qos',
            f'a publisher of {topic} offers QoS that this subscription cannot take: '
            f'{qos_policy_name_from_kind(event.last_policy_kind)}; nothing will arrive from it. Change it there, or '
            'here by a qos_overrides parameter',
        )

    def _on_lost(self, event: Any) -> None:
        self.statistics.lost(event.total_count_change)
        total = self.statistics.counts.lost
        if total >= _MANY_LOST:
            self.throttled_log.warn(
                'lost', f'{total} images on {self.topic} were lost on the way. {_TRANSPORT_HINT}', _PERIOD_S
            )

    def unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        if self.depth is not None:
            self.depth.unsubscribe()

    def destroy(self) -> None:
        """Give the topics back."""
        self.unsubscribe()
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def request_reset(self) -> int:
        """Forget every identity before the next image. Returns the epoch that begins with it. From any thread."""
        with self._lock:
            self._reset_pending = True
            self.epoch += 1
            return self.epoch

    def clock_went_back(self, now_ns: int) -> bool:
        """Forget every identity because the clock was set back. Returns False if the stamps have shown it already."""
        last = self._order.last
        if time.monotonic() - self._set_back_at < _ONE_JUMP_S and (last or 0) <= now_ns + REGRESSION_TOLERANCE_NS:
            return False
        self.request_reset()
        return True

    def silence(self) -> str | None:
        """What to say about a topic on which nothing arrives, or None if something does."""
        seconds = self.statistics.silence_s()
        if self._subscription is None or seconds < SILENCE_S:
            return None
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        self._published_since = (self._published_since or time.monotonic()) if publishers else None
        text = f'no image on {self.topic} for {seconds:.0f} s; publishers: {len(publishers)}'
        wanted = 'sensor_msgs/msg/CompressedImage' if self.topic.endswith('/compressed') else 'sensor_msgs/msg/Image'
        wrong = sorted({publisher.topic_type for publisher in publishers} - {wanted})
        if wrong:
            text += f', of type {", ".join(wrong)}, not {wanted}'
        elif self._never_arrives():
            text += f'. {_TRANSPORT_HINT}'
        self.throttled_log.warn('silence', text, _PERIOD_S)
        return text

    def _never_arrives(self) -> bool:
        """Whether somebody has been publishing for a while, and not one image has come."""
        published_s = 0.0 if self._published_since is None else time.monotonic() - self._published_since
        return published_s > SILENCE_S and not self.statistics.counts.received

    # --- worker thread ----------------------------------------------------------------------------------------------

    def process(self, message: Any) -> None:
        """Decode, segment and publish one image. Whatever goes wrong is told, and costs this image only."""
        try:
            if isinstance(message, ObjectRequest):
                self._serve(message)
            else:
                self._process(message, time.perf_counter())
        except ImageError as error:
            self._skip('refused', 'image', f'image on {self.topic} refused: {error}')
        except Exception as error:
            if self._node.context.ok():
                self._skip('failed', 'processing', f'image on {self.topic} lost: {type(error).__name__}: {error}')

    def _serve(self, request: ObjectRequest) -> None:
        """Do what a service asks for, unless it came too late; whatever goes wrong is its answer."""
        if not request.claim():
            return
        epoch = self._begin()
        try:
            track_id = request.act(self.tracker, self._order.seconds)
        except PromptError as error:
            request.refuse(str(error))
        except Exception as error:
            text = f'{type(error).__name__}: {error}'
            request.refuse(text)
            self.throttled_log.error('request', f'a request for {self.topic} failed: {text}')
        else:
            request.answer(RequestResult(True, f'object {track_id}', track_id, epoch))

    def _skip(self, reason: str, kind: str, text: str) -> None:
        self.statistics.skipped(reason)
        self.throttled_log.error(kind, text)

    def _process(self, message: Any, started: float) -> None:
        image = _decode(message)
        epoch = self._begin()
        now = int(self._node.get_clock().now().nanoseconds)
        stamp = self._stamp(message, now)
        order = self._order.follow(stamp)
        if order is Order.LATE:
            self.statistics.skipped('late')
            return
        if order is Order.BACKWARD:
            epoch = self._set_back(stamp)
        self._clock_at_last = now
        self._watch_size(image)
        if self.depth is not None:
            self.depth.expect(nanoseconds(message.header.stamp))
        instances = self.tracker.step(image, self._order.seconds(stamp))
        if self.depth is not None:
            instances = self.depth.locate(instances)
        self._sequence += 1
        self._publish(message, image, instances, epoch, started)

    def _begin(self) -> int:
        """Carry out a reset that was asked for. Returns the epoch of the image that is about to be processed."""
        with self._lock:
            if self._reset_pending:
                self._reset_pending = False
                self.tracker.reset()
                self._order.forget()
                self._sequence = 0
            return self.epoch

    def _stamp(self, message: Any, now: int) -> int:
        """The stamp in nanoseconds; where it tells no time, the last one plus what the clock has moved since."""
        stamp = message.header.stamp
        value = nanoseconds(stamp)
        if value is not None:
            return value
        self.throttled_log.warn(
            'stamp',
            f'image on {self.topic} has the stamp {stamp.sec} s {stamp.nanosec} ns, which tells no time; the ages of '
            'identities follow the clock of the node, and the latency is not known',
        )
        return now if self._order.last is None else self._order.last + max(now - self._clock_at_last, 0)

    def _set_back(self, stamp: int) -> int:
        assert self._order.last is not None
        seconds = (self._order.last - stamp) / 1e9
        self._set_back_at = time.monotonic()
        self.request_reset()
        epoch = self._begin()
        self._order.follow(stamp)
        self._node.get_logger().warning(
            f'stamps on {self.topic} went back by {seconds:.3f} s: identities are forgotten, epoch {epoch} begins'
        )
        return epoch

    def _watch_size(self, image: NDArray[np.uint8]) -> None:
        size = (image.shape[0], image.shape[1])
        if self._image_size not in (None, size):
            (old_height, old_width), (height, width) = self._image_size or size, size
            self.throttled_log.warn(
                'size',
                f'images on {self.topic} changed from {old_width}x{old_height} to {width}x{height}; identities stay',
            )
        self._image_size = size

    def _publish(
        self, message: Any, image: NDArray[np.uint8], instances: Instances, epoch: int, started: float
    ) -> None:
        frame = MessageContext(
            header=message.header,
            epoch=epoch,
            sequence=self._sequence,
            dropped=self.statistics.take_skipped(),
            model=self._model,
            origin_ns=self._order.origin,
        )
        array = to_message(instances, frame, self.mask_encoding)
        latency = self._latency_ns(message)
        array.latency = to_duration(latency or 0)
        self._instances.publish(array)
        self.statistics.processed(time.perf_counter() - started, math.nan if latency is None else latency / 1e9)
        try:
            self._publish_views(message, image, instances)
        except Exception as error:
            if self._node.context.ok():
                self.throttled_log.error('views', f'no picture of {self.topic}: {type(error).__name__}: {error}')

    def _publish_views(self, message: Any, image: NDArray[np.uint8], instances: Instances) -> None:
        """The same in other forms, for those who listen."""
        if self._markers.get_subscription_count():
            self._markers.publish(to_markers(instances, message.header))
        if self._detections is not None and self._detections.get_subscription_count():
            self._detections.publish(to_detections(instances, message.header))
        if self._overlay.get_subscription_count():
            overlay = draw_overlay(image, instances)
            self._overlay.publish(to_image(overlay, 'bgr8', message.header))
        if self._instance_image.get_subscription_count():
            self._instance_image.publish(to_image(label_image(instances), 'mono16', message.header))

    def _latency_ns(self, message: Any) -> int | None:
        """From the stamp until now on the ROS clock; None where the stamp tells no time or lies in the future."""
        stamp = nanoseconds(message.header.stamp)
        now = self._node.get_clock().now().nanoseconds
        return None if stamp is None or stamp > now else int(now - stamp)


def _decode(message: Any) -> NDArray[np.uint8]:
    if isinstance(message, CompressedImage):
        return decode_compressed(message.format, message.data)
    return decode_image(message)
