"""Pipeline: what the node does with an image, in the same order and by the same functions, with each stage timed."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vis_ros.engines.engine import Engine
from vis_ros.engines.postprocessing import postprocess
from vis_ros.images import decode_image
from vis_ros.instances import Instances
from vis_ros.masks.encodings import encoded
from vis_ros.masks.paste import paste
from vis_ros.networks.preprocessing import fit
from vis_ros.ros.messages import to_image
from vis_ros.ros.serialized_instances import MessageContext, encode_masks, serialized_instances
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory

STAGES = ('copy_in', 'preprocess', 'engine', 'association', 'paste', 'encode', 'publish')
"""Stages of an image. They do not overlap, so their sum is the time of the image.

copy_in: from the serialized message, as DDS delivers it, to the array of pixels.
preprocess: the resize for the network. 0 if the engine does it itself; then `engine` includes it.
engine: `Engine.infer` without preprocess and paste.
association: assignment of detections to tracks.
paste: from the masks of the network to masks of the image: boxes in the engine, pixels when they are published.
encode: from masks to the bytes of the message.
publish: the rest of the message, without DDS.
"""

ENGINE_STAGES: dict[str, Callable[..., Any]] = {'preprocess': fit, 'paste': postprocess}
"""Functions that engines call in `Engine.infer`."""

_MESSAGE_STAGES: dict[str, Callable[..., Any]] = {'pixels': paste, 'encode': encoded}
"""Functions that `encode_masks` calls."""

RATE = 30.0
"""Images per second of each camera, by their stamps."""


class Stopwatch:
    """Sums up the time in some functions, in a program that does not know of it. One thread only.

    seconds: time in each function since `restart`, by name.
    calls: number of calls of each function since construction, by name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def restart(self) -> None:
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    @contextmanager
    def watching(self, functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
        """Time every call of functions of vis_ros, from anywhere in that package.

        The functions are replaced in all modules loaded so far and restored at the end, so that the package itself
        has no code for measuring.

        Args:
            functions: name for the time of each -> function.
        """
        timed = {name: self._timed(name, function) for name, function in functions.items()}
        for name, function in functions.items():
            _replace(function, timed[name])
        try:
            yield
        finally:
            for name, function in functions.items():
                _replace(timed[name], function)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds[name], self.calls[name] = 0.0, 0

        @wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds[name] += time.perf_counter() - start
                self.calls[name] += 1

        return timed


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Replace a function under every name that a module of vis_ros has for it."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)


def _modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.split('.')[0] == 'vis_ros']


class Pipeline:
    """An engine with some cameras.

    Args:
        engine: warm.
        images: serialized sensor_msgs/Image, at least one. Each camera plays them forwards and backwards, from a
            different one on.
        cameras: number of cameras.
        association: settings of the memory of each camera.
        known: number of tracks in each memory from the start.
    """

    def __init__(
        self, engine: Engine, images: Sequence[bytes], cameras: int, association: AssociationConfig, known: int
    ) -> None:
        self._engine = engine
        self._images = [*images, *images[-2:0:-1]]
        self._memories = [IdentityMemory(association) for _ in range(cameras)]
        self._trackers = [DetectAndTrack(self._engine, memory) for memory in self._memories]
        self._watch = Stopwatch()
        self._frame = 0
        self.detected: list[int] = []
        """Number of detections in each image so far."""
        self.published: list[int] = []
        """Number of objects in each message so far: detections with a track."""
        if known:
            for memory in self._memories:
                self._fill(memory, known)

    def _fill(self, memory: IdentityMemory, count: int) -> None:
        """Fill a memory with tracks of random appearance and position."""
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
        """Number of tracks in the memory that has the fewest."""
        return min(len(memory) for memory in self._memories)

    def rounds(self, count: int) -> NDArray[np.float64]:
        """Process the next `count` images of every camera; returns (count, cameras, STAGES) seconds."""
        with self._watch.watching({**ENGINE_STAGES, **_MESSAGE_STAGES}):
            times = [[self._step(camera) for camera in range(len(self._trackers))] for _ in range(count)]
        return np.array(times, np.float64)

    def _step(self, camera: int) -> list[float]:
        """Process the next image of a camera; returns the seconds of each stage."""
        if camera == 0:
            self._frame += 1
        data = self._images[(self._frame + 5 * camera) % len(self._images)]
        watch, now = self._watch, time.perf_counter
        watch.restart()
        start = now()
        message, image = self._decode(data)
        decoded = now()
        (detections,) = self._engine.infer([image])
        inferred = now()
        instances = self._trackers[camera].track(detections, self._frame / RATE)
        associated = now()
        serialized_message = self._serialized(message, instances)
        published = now()
        assert serialized_message
        self.detected.append(len(detections))
        self.published.append(len(instances))
        inner = watch.seconds
        return [
            decoded - start,
            inner['preprocess'],
            inferred - decoded - inner['preprocess'] - inner['paste'],
            associated - inferred,
            inner['paste'] + inner['pixels'],
            inner['encode'],
            published - associated - inner['pixels'] - inner['encode'],
        ]

    @staticmethod
    def _decode(data: bytes) -> tuple[Any, NDArray[np.uint8]]:
        message: Any = deserialize_message(data, Image)
        return message, decode_image(message)

    def _serialized(self, image: Any, instances: Instances) -> bytes:
        context = MessageContext(header=image.header, epoch=0, sequence=self._frame, dropped=0, model='benchmark')
        return serialized_instances(instances, context, encode_masks(instances))


def serialized(images: Iterable[NDArray[np.uint8]]) -> list[bytes]:
    """The images (height, width, 3) BGR as serialized sensor_msgs/Image, bgr8, as they come out of DDS."""
    header = Header(frame_id='benchmark_optical_frame')
    return [bytes(serialize_message(to_image(np.asarray(image), 'bgr8', header))) for image in images]


def association_for(detections: int, identities: int) -> AssociationConfig:
    """Association settings that keep the wanted number of tracks and make every wanted detection a track.

    Args:
        detections: wanted in every image; 0: as many as there are, with the settings of the node.
        identities: wanted in the memory; 0: as many as there are.
    """
    config = AssociationConfig()
    values: dict[str, Any] = {}
    if identities:
        values |= {'max_identities': max(identities, detections), 'max_age_s': math.inf}
    if detections:
        values |= {'new_track_score': 0.0, 'new_track_iou': 1.0, 'confident_score': 0.0}
        values['max_identities'] = max(identities or config.max_identities, detections)
    return AssociationConfig(**values)
