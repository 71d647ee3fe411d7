"""Recordings as streams of frames: ROS 2 bags, video files and folders of images."""
