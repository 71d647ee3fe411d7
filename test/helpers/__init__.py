"""What several tests need: small networks and graphs, data made for them, ROS nodes in processes of their own."""
