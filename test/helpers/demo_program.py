"""The program `vis-ros` whose demo has a tracker that knows its scene."""

import sys
from pathlib import Path

from vis_ros.cli.main import main
from vis_ros.demo import demo_run

if __name__ == '__main__':
    frames = sys.argv[sys.argv.index('--frames') + 1]
    tracker = Path(__file__).with_name('demo_tracker.py')
    command = [sys.executable, str(tracker), '0', *map(str, demo_run.SCENE_SIZE), frames]
    demo_run.record.__kwdefaults__['tracker_command'] = command
    main()
