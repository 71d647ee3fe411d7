"""All models on the same sequences, each in a process of its own: `vis-ros compare-models`."""
