"""Training of detectors and mask propagation networks."""
