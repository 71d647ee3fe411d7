"""Train as `vis-ros train CONFIG --out OUT` does, without writing graphs at the end, which takes long."""

import sys
from pathlib import Path

from vis_ros.training.trainer import train

if __name__ == '__main__':
    train(Path(sys.argv[1]), Path(sys.argv[2]))
