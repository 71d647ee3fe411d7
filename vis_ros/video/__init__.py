"""Video that comes packet by packet, as in topics: what a packet is, and its images."""
