"""Sources: recordings as a stream of frames, whatever they are kept in (video file, image folder, ROS 2 bag).

A source reads one frame at a time, so memory does not grow with the length of a recording, and it can be iterated
again from the start.
"""
