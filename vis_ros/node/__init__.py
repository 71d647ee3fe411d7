"""The ROS node. Only this room imports rclpy."""
