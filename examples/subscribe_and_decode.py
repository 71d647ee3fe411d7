"""Subscribe to the node and read its masks as arrays.

vis-ros node --ros-args -r image:=/camera/color/image_raw      # in another terminal
python examples/subscribe_and_decode.py
"""

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from vis_ros.msg import InstanceMask, InstanceMaskArray

from vis_ros.masks import decode


class Planner(Node):
    def __init__(self) -> None:
        super().__init__('planner')
        self.create_subscription(InstanceMaskArray, '/vis_node/instances', self.on_instances, 10)

    def on_instances(self, array: InstanceMaskArray) -> None:
        for instance in array.instances:
            if instance.state != InstanceMask.CONFIRMED:
                continue
            roi = instance.roi  # the mask is the crop of this window
            mask = decode(instance.mask_data, instance.mask_encoding, roi.height, roi.width)  # uint8, 0 or 1
            track = f'{instance.class_name} {array.epoch}/{instance.track_id}'  # ids are unique within one epoch
            self.get_logger().info(f'{track}: {mask.sum()} pixels from ({roi.x_offset}, {roi.y_offset})')


def main() -> None:
    rclpy.init()
    try:
        rclpy.spin(Planner())
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
