"""The identity memory: which detection is which object seen before. numpy only, no torch, no ROS."""
