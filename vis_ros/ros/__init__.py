"""ROS 2 messages to and from arrays, and what a ROS process needs around it."""
