"""Replay: a recording through a tracker offline, or through a running node over DDS; results and pictures out."""
