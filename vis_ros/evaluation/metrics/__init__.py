"""The metrics of video instance segmentation and tracking, each after its paper."""
