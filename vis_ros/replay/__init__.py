"""Replay: a recording through a segmenter offline, or through a running node over DDS; results and pictures out."""
