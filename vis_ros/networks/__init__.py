"""The detectors Mask R-CNN and MaskTrack R-CNN, their configs, and their model files."""
