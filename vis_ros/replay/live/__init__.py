"""Replay over DDS to a running node, at the recorded times."""
