"""Instance masks: pasting, encoding, run lengths."""
