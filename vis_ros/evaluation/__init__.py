"""Evaluate results against ground truth, compare two results or several models, and write reports."""
