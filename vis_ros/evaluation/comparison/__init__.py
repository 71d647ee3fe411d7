"""Several models on the same videos: `vis-ros compare-models`."""
