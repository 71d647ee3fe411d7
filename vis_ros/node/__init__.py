"""The ROS node."""
