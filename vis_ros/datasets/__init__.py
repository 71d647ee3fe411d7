"""Annotated videos, ground truth and predictions alike: one structure, and a reader and writer for each format."""
