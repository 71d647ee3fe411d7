"""Annotated videos, both ground truth and results: one structure, with a reader and a writer for each format."""
