"""Pipeline: what the node does with an image, in its order and by the same functions, each stage timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from benchmarks.speed.stopwatch import Stopwatch
from vis_ros.engines.engine import Engine
from vis_ros.engines.postprocessing import to_instances
from vis_ros.images import decode_image
from vis_ros.instances import Instances
from vis_ros.masks.pixels import encode
from vis_ros.networks.preprocessing import fit
from vis_ros.ros.messages import MessageContext, to_message
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory

STAGES = ('copy_in', 'preprocess', 'engine', 'association', 'paste', 'encode', 'publish')
"""Of an image; none is inside another, so that their sum is the time of the image.

copy_in: from the serialised message, as DDS delivers it, to the array of pixels.
preprocess: the resize for the network; zero where the engine does it itself, then it is in `engine`.
engine: everything else of `Engine.infer` but `paste`.
association: identities.
paste: masks of the network to masks of the image; likewise.
encode: masks to the bytes of the message.
publish: the rest of the message, and its serialisation by rclpy; no DDS.
"""

ENGINE_STAGES: dict[str, Callable[..., Any]] = {'preprocess': fit, 'paste': to_instances}
"""Functions that engines call in `Engine.infer`."""

RATE = 30.0
"""Images a second of each camera, by their stamps."""


class Pipeline:
    """An engine with some cameras.

    Args:
        engine: warm.
        images: serialised sensor_msgs/Image, at least one; cameras see them to and fro, each from another one on.
        cameras: how many.
        association: of each camera.
        known: so many identities are in each memory from the start on.
    """

    def __init__(
        self, engine: Engine, images: Sequence[bytes], cameras: int, association: AssociationConfig, known: int
    ) -> None:
        self._engine = engine
        self._images = [*images, *images[-2:0:-1]]
        self._memories = [IdentityMemory(association) for _ in range(cameras)]
        self._trackers = [DetectAndTrack(engine, memory) for memory in self._memories]
        self._watch = Stopwatch()
        self._frame = 0
        self.detected: list[int] = []
        """Detections in each image so far."""
        self.published: list[int] = []
        """Objects in each message so far: detections with an identity."""
        if known:
            for memory in self._memories:
                self._remember(memory, known)

    def _remember(self, memory: IdentityMemory, count: int) -> None:
        """Fill a memory with identities that nobody has seen: looks and places at random."""
        (seen,) = self._engine.infer([self._decode(self._images[0])[1]])
        assert seen.embeddings is not None, 'an engine gives an embedding for every detection'
        random = np.random.default_rng(0)
        height, width = seen.image_size
        corners = random.uniform(0, 0.9, (count, 2))
        boxes = np.concatenate([corners, corners + 0.1], axis=1) * (width, height, width, height)
        embeddings = random.normal(size=(count, seen.embeddings.shape[1]))
        memory.update(boxes, np.ones(count), np.zeros(count, np.int32), embeddings, stamp=0.0)

    @property
    def identities(self) -> int:
        """How many each memory holds now, at the least."""
        return min(len(memory) for memory in self._memories)

    def rounds(self, count: int) -> NDArray[np.float64]:
        """Let every camera see its next images; returns (count, cameras, STAGES) seconds."""
        watched = {**ENGINE_STAGES, 'encode': encode}
        with self._watch.watching(watched):
            times = [[self._step(camera) for camera in range(len(self._trackers))] for _ in range(count)]
        return np.array(times, np.float64)

    def _step(self, camera: int) -> list[float]:
        """The next image of a camera: seconds of each stage."""
        if camera == 0:
            self._frame += 1
        data = self._images[(self._frame + 5 * camera) % len(self._images)]
        watch, now = self._watch, time.perf_counter
        watch.restart()
        begun = now()
        message, image = self._decode(data)
        decoded = now()
        (detections,) = self._engine.infer([image])
        inferred = now()
        instances = self._trackers[camera].track(detections, self._frame / RATE)
        associated = now()
        serialised = serialize_message(self._to_message(message, instances))
        published = now()
        assert serialised
        self.detected.append(len(detections))
        self.published.append(len(instances))
        inner = watch.seconds
        return [
            decoded - begun,
            inner['preprocess'],
            inferred - decoded - inner['preprocess'] - inner['paste'],
            associated - inferred,
            inner['paste'],
            inner['encode'],
            published - associated - inner['encode'],
        ]

    @staticmethod
    def _decode(data: bytes) -> tuple[Any, NDArray[np.uint8]]:
        message: Any = deserialize_message(data, Image)
        pixels = decode_image(
            message.encoding, message.height, message.width, message.step, bool(message.is_bigendian), message.data
        )
        return message, pixels

    def _to_message(self, image: Any, instances: Instances) -> Any:
        frame = MessageContext(header=image.header, epoch=0, sequence=self._frame, dropped=0, model='benchmark')
        return to_message(instances, frame, self._engine.class_names, 'mono8')


def association_for(detections: int, identities: int) -> AssociationConfig:
    """Settings under which as many identities stay as are wanted, and every wanted detection becomes an object.

    Args:
        detections: wanted in every image; 0: whichever there are, under the settings of the node.
        identities: wanted in the memory; 0: whichever come.
    """
    config = AssociationConfig()
    values: dict[str, Any] = {}
    if identities:
        values |= {'max_identities': max(identities, detections), 'max_age_s': math.inf}
    if detections:
        values |= {'new_track_score': 0.0, 'new_track_iou': 1.0, 'confident_score': 0.0}
        values['max_identities'] = max(identities or config.max_identities, detections)
    return AssociationConfig(**values)
