"""Evaluation: results against truth in the measures of the field, two results against each other, and the report."""
