"""`python -m vis_ros.cli`."""

from vis_ros.cli.main import main

main()
