"""Conversion of ROS 2 messages to and from arrays, and the environment of ROS processes."""
