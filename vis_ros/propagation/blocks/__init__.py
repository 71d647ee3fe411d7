"""Building blocks shared by the propagation systems."""
