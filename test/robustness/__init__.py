"""Damaged and hostile files of every kind: each is read, or refused with a sentence; see `fuzz`."""
