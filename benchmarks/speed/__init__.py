"""Speed measurements for the record: stages of a frame, their growth, two engines in turn, a node over DDS."""
