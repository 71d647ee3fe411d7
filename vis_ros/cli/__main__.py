"""`python -m vis_ros.cli`."""

from vis_ros.cli.start import main

main()
