"""Replay without ROS running: every frame of a recording through a tracker, results written to files."""
