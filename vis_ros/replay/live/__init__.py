"""Replay over DDS at a running node, with the timing of the recording."""
