"""Building blocks that the propagation systems share."""
