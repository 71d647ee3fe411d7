"""CameraPublishers: the topics that the node publishes for one camera."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from vis_ros.instances import Instances
from vis_ros.msg import InstanceMaskArray
from vis_ros.ros.image_annotations import annotations_class, to_annotations
from vis_ros.ros.markers import to_markers
from vis_ros.ros.messages import label_image, to_image, to_jpeg
from vis_ros.ros.vision_msgs import DETECTIONS, to_detections
from vis_ros.visualization import Labels, class_image, draw_overlay


class CameraPublishers:
    """The publishers of one camera.

    Args:
        node: creates the publishers.
        prefix: of the topics, or ''.

    instances: the InstanceMaskArray of every processed image. The other topics show the same objects in other forms.
    overlay_labels: what the tags on the overlay have, see `draw_overlay`.
    """

    def __init__(self, node: LifecycleNode, prefix: str) -> None:
        self._node = node
        self._prefix = prefix
        self._all: list[Any] = []
        self.overlay_labels = 'full'
        annotations = annotations_class()
        try:
            self.instances = self._create(InstanceMaskArray, 'instances', 10)
            self.markers = self._create(MarkerArray, 'markers', 2)
            self.detections = None if DETECTIONS is None else self._create(DETECTIONS, 'detections', 10)
            self.annotations = None if annotations is None else self._create(annotations, 'annotations', 10)
            self.overlay = self._create(Image, 'overlay', 2)
            self.overlay_jpeg = self._create(CompressedImage, 'overlay/compressed', 2)
            self.instance_image = self._create(Image, 'instance_image', 2)
            self.class_image = self._create(Image, 'class_image', 2)
        except Exception:  # an invalid qos_overrides parameter
            self.destroy()
            raise

    def _create(self, message_type: type, topic: str, depth: int) -> Any:
        publisher: Any = self._node.create_lifecycle_publisher(
            message_type,
            f'~/{self._prefix}{topic}',
            depth,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._all.append(publisher)
        return publisher

    def destroy(self) -> None:
        for publisher in self._all:
            self._node.destroy_lifecycle_publisher(publisher)

    def publish_forms(self, header: Header, instances: Instances) -> None:
        """Publish the objects as markers, detections and annotations, where they have a subscriber."""
        if self.markers.get_subscription_count():
            self.markers.publish(to_markers(instances, header))
        if self.detections is not None and self.detections.get_subscription_count():
            self.detections.publish(to_detections(instances, header))
        if self.annotations is not None and self.annotations.get_subscription_count():
            self.annotations.publish(to_annotations(instances, header.stamp))

    @property
    def are_views_watched(self) -> bool:
        """Whether the overlay, the instance image or the class image has a subscriber."""
        views = self.overlay, self.overlay_jpeg, self.instance_image, self.class_image
        return any(each.get_subscription_count() for each in views)

    def publish_views(self, header: Header, image: NDArray[np.uint8], instances: Instances) -> None:
        """Draw and publish the overlay, the instance image and the class image, where they have a subscriber."""
        as_image, as_jpeg = self.overlay.get_subscription_count(), self.overlay_jpeg.get_subscription_count()
        if as_image or as_jpeg:
            overlay = draw_overlay(image, instances, cast(Labels, self.overlay_labels))
            if as_image:
                self.overlay.publish(to_image(overlay, 'bgr8', header))
            if as_jpeg:
                self.overlay_jpeg.publish(to_jpeg(overlay, header))
        if self.instance_image.get_subscription_count():
            self.instance_image.publish(to_image(label_image(instances), 'mono16', header))
        if self.class_image.get_subscription_count():
            self.class_image.publish(to_image(class_image(instances), 'bgr8', header))
