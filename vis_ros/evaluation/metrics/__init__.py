"""The metrics of the field, each from its paper."""
