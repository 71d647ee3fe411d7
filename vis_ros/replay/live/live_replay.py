"""Live replay: plays a recording over DDS to a running node, at the recorded times, and records the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.replay.interruption import interruptible
from vis_ros.replay.live.live_results import LiveSummary, write_live_results
from vis_ros.replay.live.live_session import LiveSession, Timeouts
from vis_ros.replay.live.player import open_player
from vis_ros.replay.live.routes import find_routes
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.replay.live.timed_images import TimedImages
from vis_ros.replay.output_folder import check_room, room


def replay_live(
    images: TimedImages,
    out: str | Path,
    *,
    node: str = '/vis_node',
    topic: str | None = None,
    cameras: Mapping[str, str | None] | None = None,
    rate: float = 1.0,
    loop: int = 1,
    copy_images: bool = False,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is immutable
    on_ready: Callable[[int | None, str], None] = lambda total, text: None,
    on_image: Callable[[], None] = lambda: None,
) -> LiveSummary:
    """Play a recording to a running node and write its results into a folder.

    The node is reset first. Each image is published when it is due by its time of recording, with /clock at that time,
    as `ros2 bag play --clock` does. In each further round stamps and /clock start again from the beginning, as in
    `ros2 bag play --loop`, and the node starts a new epoch. Each round ends when the last replies have been received.

    SIGINT, SIGTERM, damage in the recording, a node that ends, and another publisher on the same topics end the replay
    early. The results received until then are written.

    Args:
        images: the recording.
        out: the folder. It is created if necessary; files of an earlier replay are replaced.
        node: fully qualified name of the node.
        topic: the only image topic of the recording to play.
        cameras: camera of the node ('' for the one without a name) -> image topic of the recording (None: NAME/image
            or NAME/image/compressed). Without `topic` and `cameras`, topics of equal names are matched, or the only
            topic and the only camera.
        rate: speed of the replay; 1 is as recorded.
        loop: number of rounds.
        copy_images: copy the images into the bag, at the wall time at which they were published.
        timeouts: see `Timeouts`.
        on_ready: called when the node is active, with the number of images to play (None if unknown) and a description
            of the routes.
        on_image: called after each published image.

    Raises:
        TimeoutError: there is no such node, it is not active, or it does not reply.
        ConnectionError: the node reports that it cannot work, or cannot be reset.
        ValueError: rate or loop is out of range, topics and cameras do not match, no image can be read, or `out` is in
            the recording.
        FileExistsError: `out` holds files that vis-ros has not written.
        KeyboardInterrupt: interrupted before the first image.
    """
    if not 0 < rate < math.inf or loop < 1:
        raise ValueError(f'rate ({rate}) must be a number greater than 0 and loop ({loop}) at least 1')
    folder = Path(out)
    check_room(folder, [images.path])
    with interruptible() as stop:
        with open_player('vis_ros_replay', stop) as player:
            running_node = RunningNode(player, node)
            routes = find_routes(
                images, running_node.wait_until_active(timeouts.appear, timeouts.active), topic, cameras
            )
            counts = [images.counts[route.recorded_topic] for route in routes]
            total = None if None in counts else loop * sum(count or 0 for count in counts)
            on_ready(total, '; '.join(map(str, routes)))
            videos = [route.camera.name for route in routes] if len(routes) > 1 else []
            with room(folder, [images.path], videos), BagWriter(folder / 'bag') as bag:
                session = LiveSession(
                    player,
                    running_node,
                    images,
                    routes,
                    bag,
                    rate=rate,
                    loop=loop,
                    copy_images=copy_images,
                    timeouts=timeouts,
                )
                session.connect()
                session.play(on_image)
        return write_live_results(folder, session)
