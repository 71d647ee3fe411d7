"""Recordings as streams of frames, whatever they are kept in: video file, image folder, ROS 2 bag."""
