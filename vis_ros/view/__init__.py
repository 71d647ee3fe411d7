"""Results in a viewer of other people: Rerun."""
