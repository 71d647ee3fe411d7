"""Annotated videos, truth and results alike: one structure in memory, and a reader and a writer for each format."""
