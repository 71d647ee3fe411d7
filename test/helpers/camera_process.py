"""A camera as a process of its own: 640x480 at 20 Hz, best effort, with the transport profile of the package."""

import time

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from helpers.image_messages import image_message
from helpers.rectangles import GREEN, draw
from vis_ros.ros.environment import prepare_environment

if __name__ == '__main__':
    prepare_environment()
    rclpy.init()
    node = Node('camera')
    publisher = node.create_publisher(Image, '/camera/image', qos_profile_sensor_data)
    message = image_message(draw((300, 200, 340, 240, GREEN), height=480, width=640))
    while rclpy.ok():  # until SIGTERM
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        time.sleep(0.05)
    node.destroy_node()
