"""Propagators: the masks of objects carried from one image to the next, each by its own system."""
