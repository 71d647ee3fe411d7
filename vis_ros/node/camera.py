"""Camera: one camera of the node: from an image message to the message of its tracked objects."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from vis_ros.engines.engine import CompilingError, DeviceLostError
from vis_ros.images import ImageError, decode_compressed, decode_image
from vis_ros.instances import Instances
from vis_ros.node.camera_publishers import CameraPublishers
from vis_ros.node.depth_stream import DepthStream, StampedDepth
from vis_ros.node.image_clock import ImageClock
from vis_ros.node.image_queue import ArrivedImage, ImageQueue
from vis_ros.node.image_subscription import ImageSubscription
from vis_ros.node.object_request import ObjectRequest
from vis_ros.node.statistics import StreamStatistics
from vis_ros.node.throttled_log import ThrottledLog
from vis_ros.node.video_thread import VideoThread
from vis_ros.node.views import Views
from vis_ros.node.worker import Worker
from vis_ros.recordings.topics import TRANSPORTS
from vis_ros.recordings.video_messages import read_video_packet
from vis_ros.ros.serialized_images import read_compressed_image, read_header, read_image
from vis_ros.ros.serialized_instances import MessageContext, encode_masks, serialized_instances
from vis_ros.ros.stamps import REGRESSION_TOLERANCE_NS, Order, nanoseconds
from vis_ros.tracking.prompts import PromptError
from vis_ros.tracking.settings import NodeSettings
from vis_ros.tracking.tracker import Tracker

_ONE_JUMP_S = 1.0
"""Stamps and clock that jump back within this many seconds of each other made one and the same jump."""


@dataclass(frozen=True)
class CameraImage:
    """An image that was read.

    header: of the message.
    pixels: (height, width, 3) uint8 BGR.
    arrived: time of arrival, of `time.monotonic`.
    started: when reading it began, of `time.perf_counter`.
    skipped: how many images had been skipped unread by then. Those that are skipped later may have arrived after this
        one. Once the image is tracked, also how many were skipped after they had been read: they came before it.
    """

    header: Header
    pixels: NDArray[np.uint8]
    arrived: float
    started: float
    skipped: int


@dataclass(frozen=True, eq=False)
class _FollowedImage:
    """An image in its place in time. found: of the engine, if it has run; seconds: the stamp as the tracker counts;
    has_wrong_stamp: that of the header is wrong.
    """

    image: CameraImage
    found: Instances | None
    seconds: float
    has_wrong_stamp: bool


@dataclass(frozen=True)
class TrackedImage:
    """What is published of an image.

    instances: its objects, without positions.
    epoch, sequence, origin_ns: see `MessageContext`.
    stamp_ns: of its header; None if it is wrong.
    depth: the depth image nearest to it, None without one.
    """

    image: CameraImage
    instances: Instances
    epoch: int
    sequence: int
    origin_ns: int
    stamp_ns: int | None
    depth: StampedDepth | None


class Camera:
    """One camera of the node, with its topics, tracker and statistics. It is an `ImageStream` of the worker.

    The executor thread receives images and requests; the worker thread reads and tracks them, and a third thread
    publishes the results. Only the worker thread touches the tracker. A reset therefore waits for no network: it
    applies before the next image. A new image replaces one that still waits: a slow network skips images instead of
    falling behind. Images are deserialized in the worker thread, so that those which are skipped cost little. Packets
    of a video are all decoded, in a `VideoThread`.

    An image up to REGRESSION_TOLERANCE_NS older than the last processed one is late and skipped. A larger step back
    means that time was set back, as in a bag that loops, and deletes all tracks. An image of another size than the last
    one is processed normally and deletes no tracks.

    With the setting `delayed`, an image is processed when the next one has arrived. One that waits for the next is
    skipped when tracks are deleted.

    Args:
        node: creates publishers and subscriptions.
        name: prefix of the topics, or ''.
        tracker: of this camera alone.
        model: display name of the model, for InstanceMaskArray.model.
        settings: of the node.
        on_device_lost: called with the reason, in the worker thread, when no image can be processed any more.
        epoch: the last epoch of an earlier Camera with this name.
        enabled: whether images are processed; see `enable`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        tracker: Tracker,
        model: str,
        settings: NodeSettings,
        on_device_lost: Callable[[str], None],
        epoch: int = 0,
        enabled: bool = True,
    ) -> None:
        self.name = name
        self.tracker = tracker
        self.topic = ''
        self.epoch = epoch
        self.enabled = enabled
        self.statistics = StreamStatistics()
        self.log = ThrottledLog(node.get_logger())
        self._node = node
        self._on_device_lost = on_device_lost
        self._model = model
        self._mask_encoding = settings.mask_encoding
        self._transport = settings.image_transport
        self._scale = settings.scale16()
        self._prefix = f'{name}/' if name else ''
        self.publishers = CameraPublishers(node, self._prefix)
        self.publishers.overlay_labels = settings.overlay_labels
        self.images: ImageSubscription | None = None
        self.depth: DepthStream | None = None
        if settings.depth != 'none':
            self.depth = DepthStream(node, self._prefix, settings.depth == 'rectified', self.log)
        self._queue = ImageQueue(None if self.depth is None else self.depth.wait_s)
        self.wait_s = self._queue.wait_s
        self._video: VideoThread | None = None
        self._views: Views | None = None
        self._worker: Worker | None = None
        self._lock = threading.Lock()  # of `epoch` and `_reset_pending`
        self._reset_pending = False
        self._set_back_at = self._not_before = -math.inf
        # The worker thread alone uses these:
        self._tracked_epoch = epoch
        self._sequence = 0
        self._clock = ImageClock(node.get_clock(), self._on_wrong_stamp)
        self._image_size: tuple[int, int] | None = None
        self._delayed = settings.delayed
        self._waiting: _FollowedImage | None = None

    # --- executor thread --------------------------------------------------------------------------------------------

    def activate(self, worker: Worker, views: Views) -> None:
        """Delete all tracks, clear the statistics and subscribe. The worker tracks, `views` draws."""
        self.request_reset()
        self._not_before = time.monotonic()  # a video may still be in the decoder
        self.statistics = StreamStatistics()
        self._waiting = None
        self._worker, self._views = worker, views
        self.images = ImageSubscription(
            self._node, self._prefix, self._transport, self.receive, self.statistics, self.log
        )
        self.topic = self.images.topic
        if self.depth is not None:
            self.depth.subscribe(worker.wake)

    def deactivate(self) -> None:
        """Unsubscribe."""
        if self.images is not None:
            self.images.destroy()
            self.images = None
        if self.depth is not None:
            self.depth.unsubscribe()
        self._worker = self._views = None
        self._stop_video()
        self._queue.clear()

    def _stop_video(self) -> int:
        """Expect a key frame next. Returns how many packets are not decoded any more."""
        video, self._video = self._video, None
        return 0 if video is None else video.stop()

    def destroy(self) -> None:
        """Unsubscribe and remove the publishers."""
        self.deactivate()
        self.publishers.destroy()

    def receive(self, data: bytes) -> None:
        """Make this the next image to process, in place of one that still waits for the network.

        Args:
            data: the serialized message.
        """
        self.statistics.received()
        if not self.enabled:
            self.statistics.ignored()
        elif self._worker is not None:
            try:
                packet = read_video_packet(data, TRANSPORTS[self._transport])
                image = ArrivedImage.now(data)
                if packet is None:
                    self._wait(image)
                else:
                    self._video = self._video or VideoThread(self._wait, self._undecoded)
                    self._video.put(image, packet)
            except ValueError as error:
                self._skip('refused', 'image', f'image on {self.topic} refused: {error}')

    def _wait(self, image: ArrivedImage) -> None:
        """Put an image into the queue. Safe from any thread."""
        if (worker := self._worker) is not None:
            self.statistics.skipped('dropped', self._queue.put(image))
            worker.wake()

    def _undecoded(self, reason: str) -> None:
        """A packet of a video has no image. Safe from any thread."""
        self.statistics.skipped('undecoded')
        text = f'{self.statistics.counts.undecoded} video packets on {self.topic} gave no image so far: {reason}'
        self.log.warn('video', f'{text}. An encoder that sends a key frame each second shortens the gap')

    def submit(self, request: ObjectRequest) -> bool:
        """Pass a request to the worker. Returns False if the camera is inactive."""
        return self._worker is not None and self._worker.submit(self, request)

    def enable(self, enabled: bool) -> None:
        """Process images, or ignore them, the waiting one included."""
        self.enabled = enabled
        if not enabled:
            self.statistics.ignored(self._stop_video() + self._queue.clear())

    def configure(self, settings: NodeSettings) -> None:
        """Apply the settings that may change while active. ValueError if one cannot; then nothing has changed."""
        self.tracker.configure(settings)
        self._mask_encoding = settings.mask_encoding
        self.publishers.overlay_labels = settings.overlay_labels

    def request_reset(self) -> int:
        """Delete all tracks before the next image. Returns the epoch that starts with it. Safe from any thread."""
        with self._lock:
            self.epoch += not self._reset_pending
            self._reset_pending = True
            return self.epoch

    def clock_went_back(self, now_ns: int) -> bool:
        """Delete all tracks because the clock was set back to `now_ns`.

        Returns False if stamps have already shown the same jump.
        """
        self._not_before = time.monotonic()  # what arrived before it was taken before the jump
        self.statistics.skipped('dropped', self._queue.clear())
        last = self._clock.order.last
        if time.monotonic() - self._set_back_at < _ONE_JUMP_S and (last or 0) <= now_ns + REGRESSION_TOLERANCE_NS:
            return False
        self.request_reset()
        return True

    @property
    def identities(self) -> int:
        """Number of tracks in memory."""
        return 0 if self._reset_pending else self.tracker.identities

    # --- worker thread ----------------------------------------------------------------------------------------------

    def read(self) -> CameraImage | None:
        """Decode the next image. An error is logged and costs only this image."""
        started = time.perf_counter()
        arrived = self._queue.take()
        if arrived is None:  # discarded a moment ago
            return None
        skipped = self.statistics.skipped_unread
        self.statistics.started(time.monotonic() - arrived.time)
        with self._errors_skip_the_image():
            header, pixels = self._decode(arrived)
            return CameraImage(header, pixels, arrived.time, started, skipped)
        return None

    def track(self, image: CameraImage, found: Instances | None) -> TrackedImage | None:
        """Track the objects of an image. An error is logged and costs only this image."""
        with self._errors_skip_the_image(after_reading=True):
            return self._track(image, found)
        return None

    @contextmanager
    def _errors_skip_the_image(self, after_reading: bool = False) -> Iterator[None]:
        try:
            yield
        except ImageError as error:
            self._skip('refused', 'image', f'image on {self.topic} refused: {error}', after_reading)
        except CompilingError as error:
            self._skip('compiling', 'compiling', f'image on {self.topic} skipped: {error}', after_reading)
        except DeviceLostError as error:
            self._skip('failed', 'processing', str(error), after_reading)
            self._on_device_lost(str(error))
        except Exception as error:
            if self._node.context.ok():
                text = f'image on {self.topic} could not be processed: {type(error).__name__}: {error}'
                self._skip('failed', 'processing', text, after_reading)

    def serve(self, request: ObjectRequest) -> None:
        """Apply a request to the tracker, unless it has been rejected meanwhile."""
        if not request.try_start():
            return
        self._apply_reset()
        try:
            track_id = request.apply(self.tracker, self._clock.order.seconds)
        except PromptError as error:
            request.reject(str(error))
        except Exception as error:
            text = f'{type(error).__name__}: {error}'
            request.reject(text)
            self.log.error('request', f'a request for {self.topic} failed: {text}')
        else:
            request.accept(track_id, self._tracked_epoch)

    def _track(self, image: CameraImage, found: Instances | None) -> TrackedImage | None:
        header = image.header
        if not self.enabled:  # it was read ahead, or still in the decoder
            self.statistics.ignored()
            return None
        if image.arrived < self._not_before:
            self.statistics.skipped('dropped', after_reading=True)
            return None
        self._apply_reset()
        stamp = self._follow(header)
        if stamp is None:
            self.statistics.skipped('late', after_reading=True)
            return None
        image = replace(image, skipped=image.skipped + self.statistics.skipped_after_reading)
        self._check_size(image.pixels)
        waiting = _FollowedImage(image, found, self._clock.order.seconds(stamp), self._clock.has_wrong_stamp)
        depth_before = None if self.depth is None else self.depth.want(nanoseconds(header.stamp))
        if not self._delayed:
            return self._find(waiting)
        before, self._waiting = self._waiting, waiting
        return None if before is None else self._find(before, image.pixels, depth_before)

    def _find(
        self, followed: _FollowedImage, after: NDArray[np.uint8] | None = None, depth: StampedDepth | None = None
    ) -> TrackedImage:
        """Find the tracks in an image. after, depth: with `delayed`, the next image, and the depth of this one."""
        image = followed.image
        sent_ns = nanoseconds(image.header.stamp)
        instances = self.tracker.step(image.pixels, followed.seconds, followed.found, after=after)
        self._sequence += 1
        return TrackedImage(
            image,
            instances,
            self._tracked_epoch,
            self._sequence,
            self._clock.order.origin,
            None if followed.has_wrong_stamp else sent_ns,
            depth if self.depth is None or after is not None else self.depth.nearest(),
        )

    def _decode(self, arrived: ArrivedImage) -> tuple[Header, NDArray[np.uint8]]:
        """Header and pixels of an image."""
        if arrived.pixels is not None:
            sent, image = read_header(arrived.data), arrived.pixels()
        elif self._transport == 'compressed':
            compressed = read_compressed_image(arrived.data)
            sent, image = compressed.header, decode_compressed(compressed.format, compressed.data, self._scale)
        else:
            message = read_image(arrived.data)
            sent, image = message.header, decode_image(message, self._scale)
        return Header(stamp=Time(sec=sent.sec, nanosec=sent.nanosec), frame_id=sent.frame_id), image

    def _skip(self, reason: str, kind: str, text: str, after_reading: bool = False) -> None:
        self.statistics.skipped(reason, after_reading=after_reading)
        self.log.error(kind, text)

    def _apply_reset(self) -> None:
        """Delete all tracks if that was requested."""
        with self._lock:
            if self._reset_pending:
                self._reset_pending = False
                self.tracker.reset()
                self._clock.order.forget()
                self._sequence = 0
                self._tracked_epoch = self.epoch
                if self._waiting is not None:  # its tracks are gone
                    self._waiting = None
                    self.statistics.skipped('dropped', after_reading=True)

    def _follow(self, header: Header) -> int | None:
        """The time of the next image in nanoseconds, None if the image is late. Time that was set back deletes all
        tracks.
        """
        order, stamp = self._clock.follow(header)
        if order is Order.BACKWARD:
            self._set_back(stamp)
        return None if order is Order.LATE else stamp

    def _on_wrong_stamp(self, header: Header, problem: str) -> None:
        self.statistics.wrong_stamp()
        self.log.warn(
            'stamp',
            f'image on {self.topic} has {problem} ({header.stamp.sec} s {header.stamp.nanosec} ns): using the node '
            'clock instead, and the latency is unknown',
        )

    def _set_back(self, stamp: int) -> None:
        assert self._clock.order.last is not None
        seconds = (self._clock.order.last - stamp) / 1e9
        self._set_back_at = time.monotonic()
        self.request_reset()
        self._apply_reset()
        self._clock.order.follow(stamp)
        self._node.get_logger().warning(
            f'stamps on {self.topic} jumped back by {seconds:.3f} s: all tracks are deleted, epoch '
            f'{self._tracked_epoch} starts'
        )

    def _check_size(self, image: NDArray[np.uint8]) -> None:
        size = (image.shape[0], image.shape[1])
        if self._image_size not in (None, size):
            (old_height, old_width), (height, width) = self._image_size or size, size
            self.log.warn(
                'size',
                f'images on {self.topic} changed from {old_width}x{old_height} to {width}x{height}; tracks are kept',
            )
        self._image_size = size

    # --- publishing thread ------------------------------------------------------------------------------------------

    def publish(self, result: TrackedImage) -> None:
        """Locate the objects and publish them. An error is logged and costs only this image."""
        with self._errors_skip_the_image(after_reading=True):
            self._publish(result)

    def _publish(self, result: TrackedImage) -> None:
        image, instances = result.image, result.instances
        header = image.header
        if self.depth is not None:
            instances = self.depth.locate(instances, result.depth, nanoseconds(header.stamp), header.frame_id)
        masks = encode_masks(instances, self._mask_encoding)
        latency = self._latency_ns(result.stamp_ns)
        context = MessageContext(
            header=header,
            epoch=result.epoch,
            sequence=result.sequence,
            dropped=self.statistics.newly_skipped(image.skipped),
            model=self._model,
            latency_ns=latency or 0,
            origin_ns=result.origin_ns,
        )
        self.publishers.instances.publish(serialized_instances(instances, context, masks))
        latency_s = math.nan if latency is None else latency / 1e9
        self.statistics.processed(image.skipped, time.perf_counter() - image.started, latency_s)
        try:
            if (views := self._views) is not None:  # not deactivated meanwhile
                views.show(self.publishers, header, image.pixels, instances, self.log)
            self.publishers.publish_forms(header, instances)
        except Exception as error:
            if self._node.context.ok():
                text = f'no markers, detections or overlay of {self.topic}: {type(error).__name__}: {error}'
                self.log.error('views', text)

    def _latency_ns(self, stamp_ns: int | None) -> int | None:
        """Time since the stamp on the ROS clock; None if the stamp is wrong or in the future."""
        now = self._node.get_clock().now().nanoseconds
        return None if stamp_ns is None or stamp_ns > now else int(now - stamp_ns)
