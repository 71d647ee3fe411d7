"""`python -m vis_ros.node` runs the node."""

from vis_ros.node.main import main

main()
