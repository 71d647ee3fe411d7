"""Video data with annotation: readers, composites that turn images into videos, and a procedural scene."""
