"""Replay of a recording: offline through the trackers of the node, or live through a running node over DDS."""
