"""Live replay: plays a recording through DDS at a running node, with its real timing, and keeps what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.replay.interruption import interruptible
from vis_ros.replay.live.client_node import client_node
from vis_ros.replay.live.live_results import LiveSummary, write_live_results
from vis_ros.replay.live.live_session import LiveSession, Patience
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.routes import find_routes
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.replay.live.timed_images import TimedImages
from vis_ros.replay.output_folder import make_room


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
    patience: Patience = Patience(),  # noqa: B008  # it cannot change
    on_ready: Callable[[int | None, str], None] = lambda total, text: None,
    on_image: Callable[[], None] = lambda: None,
) -> LiveSummary:
    """Play a recording at a running node and write its answers into a folder.

    The node first forgets its identities. Then every image is published when it is due by its time of recording,
    and /clock with it (the time of recording too, as `ros2 bag play --clock` has it). In each further round stamps and
    clock go back to the start, as in `ros2 bag play --loop`: the node notices it and begins an epoch. At the end of
    each round the last answers are waited for.

    SIGINT and SIGTERM end the playing, and so do damage of the recording, a node that goes away, and another publisher
    on the same topics; what came until then is written.

    Args:
        images: the recording.
        out: the folder; made where it is missing, files of an earlier replay are replaced.
        node: fully qualified name of the node.
        topic: the one image topic of the recording to play.
        cameras: name of a camera of the node ('' for the one without a name) -> the image topic of the recording that
            it gets (None: NAME/image, or that with /compressed). Where nothing is chosen, topics of the same name
            belong together, or the only topic and the only camera.
        rate: plays so many times as fast as recorded.
        loop: how many rounds.
        copy_images: keep the images in the bag too, with the time of their publication.
        patience: how long to wait for what.
        on_ready: called when the node listens, with the number of images to play, where that is known, and in words
            what is played where.
        on_image: called after each published image (a progress bar).

    Raises:
        TimeoutError: there is no such node, it is not active, or it does not answer; says what was found.
        ConnectionError: the node cannot work.
        ValueError: rate or loop is out of range, the topics do not fit, nothing can be read, or `out` would hurt the
            recording.
        FileExistsError: `out/bag` is something else than a bag.
        KeyboardInterrupt: a signal came before anything was played.
    """
    if rate <= 0 or loop < 1:
        raise ValueError(f'rate ({rate}) must be greater than 0 and loop ({loop}) at least 1')
    folder = Path(out)
    with interruptible() as stop:
        with client_node('vis_ros_replay') as (ros_node, executor):
            player = Player(ros_node, executor, stop)
            target = RunningNode(ros_node, player, node)
            routes = find_routes(images, target.wait(patience.appear, patience.ready), topic, cameras)
            counts = [images.counts[route.recorded] for route in routes]
            total = None if None in counts else loop * sum(count or 0 for count in counts)
            on_ready(total, '; '.join(map(str, routes)))
            make_room(folder, [images.path])
            with BagWriter(folder / 'bag') as bag:
                session = LiveSession(
                    ros_node, player, target, images, routes, bag, rate=rate, copy_images=copy_images, patience=patience
                )
                session.introduce()
                settings = target.settings()
                while session.rounds < loop and not (stop.is_set() or session.stopped_early):
                    session.play(on_image, again=session.rounds + 1 < loop)
        return write_live_results(folder, images, target, settings, session, rate, loop)
