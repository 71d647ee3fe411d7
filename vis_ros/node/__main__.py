"""`python -m vis_ros.node` runs the node."""

import sys

from vis_ros.node.main import main

sys.exit(main())
