"""Scene: a procedural video with ground truth, in which objects cross, hide, leave and return."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vis_ros.synthetic.appearance import Appearance
from vis_ros.synthetic.composite_video import Background, CompositeVideo, MovingObject
from vis_ros.synthetic.composites import CompositeConfig, CompositeVideos
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.motion import CameraMotion, Matrix, Pose, Wave
from vis_ros.synthetic.object_crop import ObjectCrop, ObjectSource
from vis_ros.synthetic.shapes import ShapeObject, TexturedImages, draw_surface

SHAPE = 'shape'
"""Class name of all objects of the scene."""

_SCRIPT: tuple[tuple[str, float, tuple[tuple[float, float, float], ...]], ...] = (
    ('hides behind the pillar', 0.24, (
        (0.0, 0.80, 0.30), (0.3, 0.66, 0.34), (0.42, 0.62, 0.36), (0.55, 0.62, 0.36), (0.67, 0.56, 0.34),
        (1.0, 0.34, 0.26),
    )),
    ('hides behind the large one', 0.20, (
        (0.0, 0.10, 0.30), (0.1, 0.14, 0.45), (0.22, 0.28, 0.62), (0.34, 0.29, 0.62), (0.5, 0.44, 0.42),
        (0.75, 0.45, 0.20), (1.0, 0.12, 0.16),
    )),
    ('twin that stays', 0.24, ((0.0, 0.90, 0.80), (0.35, 0.84, 0.62), (0.7, 0.90, 0.45), (1.0, 0.82, 0.72))),
    ('leaves and returns', 0.24, (
        (0.0, 0.45, 0.86), (0.25, 0.30, 0.86), (0.42, -0.16, 0.84), (0.62, -0.16, 0.80), (0.8, 0.30, 0.80),
        (1.0, 0.55, 0.84),
    )),
    ('large one', 0.46, ((0.0, 0.30, 0.56), (0.3, 0.28, 0.60), (0.6, 0.22, 0.56), (1.0, 0.27, 0.60))),
    ('crosses to the right', 0.22, ((0.0, 0.36, 0.17), (0.3, 0.40, 0.16), (0.62, 0.93, 0.15), (1.0, 0.90, 0.24))),
    ('pillar', 1.3, ((0.0, 0.62, 0.5), (1.0, 0.62, 0.5))),
    ('crosses to the left', 0.26, ((0.0, 0.93, 0.16), (0.12, 0.93, 0.14), (0.5, 0.53, 0.17), (1.0, 0.10, 0.40))),
)  # fmt: skip
"""The objects from back to front: name, longest side in frame heights, and waypoints (time, x, y) as fractions of the
length of the video, of the width and of the height. The pillar hides other objects and is not labeled."""


@dataclass(frozen=True)
class ScriptedMotion:
    """A smooth path through waypoints, with some sway, turn and growth.

    times: (K,) in frames, ascending.
    places: K positions (x, y) in pixels.
    scale: image pixels per pixel of the crop.
    waves: four waves, of x, y, growth and turn.
    sway: amplitude in pixels.
    turn: amplitude of the rotation in radians.
    growth: amplitude of the logarithm of the scale.
    mirrored: flipped left to right.
    """

    times: tuple[float, ...]
    places: tuple[tuple[float, float], ...]
    scale: float
    waves: tuple[Wave, ...]
    sway: float = 0.0
    turn: float = 0.0
    growth: float = 0.0
    mirrored: bool = False

    def position(self, time: float) -> tuple[float, float]:
        """Center (x, y) in pixels: cubic between the waypoints, at rest before the first and after the last."""
        x, y = _glide(np.array(self.times), np.array(self.places), time)
        return x + self.sway * self.waves[0](time), y + self.sway * self.waves[1](time)

    def pose(self, time: float) -> Pose:
        """The pose at a time in frames."""
        x, y = self.position(time)
        scale = self.scale * float(np.exp(self.growth * self.waves[2](time)))
        across = -scale if self.mirrored else scale
        return Pose(x=x, y=y, scale_x=across, scale_y=scale, angle=self.turn * self.waves[3](time))


def _glide(times: Matrix, places: Matrix, time: float) -> tuple[float, float]:
    """Monotone cubic interpolation (Fritsch and Carlson 1980, with harmonic means): no overshoot, continuous speed."""
    time = float(np.clip(time, times[0], times[-1]))
    step = np.diff(times)
    slope = np.diff(places, axis=0) / step[:, None]
    speed = np.zeros_like(places)
    before, after = slope[:-1], slope[1:]
    same = before * after > 0
    speed[1:-1][same] = (2 * before[same] * after[same]) / (before[same] + after[same])
    i = int(np.clip(np.searchsorted(times, time, side='right') - 1, 0, len(step) - 1))
    u = (time - times[i]) / step[i]
    place = (
        (2 * u**3 - 3 * u**2 + 1) * places[i]
        + (u**3 - 2 * u**2 + u) * step[i] * speed[i]
        + (3 * u**2 - 2 * u**3) * places[i + 1]
        + (u**3 - u**2) * step[i] * speed[i + 1]
    )
    return float(place[0]), float(place[1])


class Scene:
    """The camera of the demo: a fixed sequence of events, with objects and a background drawn by seed.

    Two objects cross. One hides behind another object and one behind a pillar until they are not visible. One leaves
    the image and returns next to a twin that looks the same.

    Args:
        seed: of the objects, the background and the camera motion.
        size: (height, width) of the images.
        frames: number of frames; the events are spread over them.
        class_id: of all objects.

    object_names: object id -> what the object does.
    """

    def __init__(self, seed: int = 0, size: tuple[int, int] = (360, 640), frames: int = 300, class_id: int = 0) -> None:
        if frames < 2:
            raise ValueError(f'a scene has at least 2 frames, not {frames}')
        self.seed, self.size, self.frames = seed, size, frames
        random = np.random.default_rng((seed, 0x5CE4E))
        self.object_names: dict[int, str] = {}
        self._video = CompositeVideo(
            size=size,
            background=Background.of_frame(_place(seed, size)),
            camera=_camera(random, size, frames),
            moving_objects=self._moving_objects(random, class_id),
            appearance=_appearance(random, frames),
            seed=seed,
            length=frames,
        )

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int) -> LabeledFrame:
        """Frame number `index` with the labels of the visible objects. IndexError if there is no such frame."""
        if not 0 <= index < self.frames:
            raise IndexError(f'a scene of {self.frames} frames has no frame {index}')
        return self._video.frame(index)

    def _moving_objects(self, random: np.random.Generator, class_id: int) -> list[MovingObject]:
        moving_objects = []
        twin = ShapeObject(int(random.integers(2**31)), class_id)
        for number, (name, side, course) in enumerate(_SCRIPT, start=1):
            source: ObjectSource = ShapeObject(int(random.integers(2**31)), class_id)
            if name in ('twin that stays', 'leaves and returns'):
                source = twin
            if name == 'pillar':
                source = Pillar(int(random.integers(2**31)))
            moves = name != 'pillar'
            motion = ScriptedMotion(
                times=tuple(time * self.frames for time, _, _ in course),
                places=tuple((x * self.size[1], y * self.size[0]) for _, x, y in course),
                scale=side * self.size[0] / source.extent,
                waves=tuple(Wave.random(random, 30, 150) for _ in range(4)),
                sway=0.015 * self.size[0] * moves,
                turn=0.3 * moves,
                growth=0.06 * moves,
            )
            object_id = number if moves else 0
            if moves:
                self.object_names[object_id] = name
            moving_objects.append(MovingObject(object_id, source, motion, rate=0.0))
        return moving_objects


class Pillar:
    """An ObjectSource of a pillar that objects pass behind. It belongs to the background: its pixels have no label."""

    class_id = 0
    extent = 400.0

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng((seed, 0xB111A4))
        surface = draw_surface(random, (400, 92))
        shading = 0.45 + 0.6 * np.sqrt(1 - np.linspace(-1, 1, 92) ** 2)
        pixels = np.dstack([np.clip(surface * shading[:, None], 0, 255), np.full((400, 92), 255)]).astype(np.uint8)
        pixels[:, :2, 3] = pixels[:, -2:, 3] = pixels[:2, :, 3] = pixels[-2:, :, 3] = 0
        self._crop = ObjectCrop(pixels, 0, 'pillar')

    def crop(self, phase: float) -> ObjectCrop:
        """The pillar; it is the same at every phase."""
        return self._crop


def _place(seed: int, size: tuple[int, int]) -> LabeledFrame:
    return TexturedImages(1, (round(size[0] * 1.25), round(size[1] * 1.25)), first=seed).frame(0)


def _camera(random: np.random.Generator, size: tuple[int, int], frames: int) -> CameraMotion:
    source_size = round(size[0] * 1.25), round(size[1] * 1.25)
    slow = tuple(Wave.random(random, frames / 2, 1.5 * frames) for _ in range(4))
    fast = tuple(Wave.random(random, 8, 40) for _ in range(2))
    return CameraMotion(source_size, size, (*slow, *fast), window=0.86, pan=0.8, zoom=0.06, shake=0.004 * size[0])


def _appearance(random: np.random.Generator, frames: int) -> Appearance:
    slow = tuple(Wave.random(random, frames / 3, frames) for _ in range(5))
    return Appearance(shutter=0.3, light=0.08, light_waves=slow, shadow=0.35, shadow_offset=(0.03, 0.05), noise=2.0)


class SceneVideos:
    """Videos of procedural objects over procedural backgrounds, by seed: training data that needs no files.

    In some videos a pillar hides some of the objects.

    Args:
        size: (height, width) of the frames.
        class_id: of all objects.
        config: the effects; None for the defaults.
        shapes: number of different objects.
        places: number of different backgrounds.
    """

    def __init__(
        self,
        size: tuple[int, int],
        class_id: int = 0,
        config: CompositeConfig | None = None,
        shapes: int = 400,
        places: int = 48,
    ) -> None:
        objects = [ShapeObject(10_000 + number, class_id) for number in range(shapes)]
        images = TexturedImages(places, (round(1.5 * size[0]), round(1.5 * size[1])), first=10_000)
        config = replace(config or CompositeConfig(), enlargement=2.0)
        self.size = size
        self._videos = CompositeVideos(images, objects, size, config)

    def video(self, seed: int) -> CompositeVideo:
        """Video number `seed`, any integer from 0."""
        video = self._videos.video(seed)
        random = np.random.default_rng((int(seed), 0xB111A5))
        if random.random() < 0.4:
            moving_objects = list(video.moving_objects)
            moving_objects.insert(
                int(random.integers(len(moving_objects) // 2, len(moving_objects) + 1)), self._pillar(random)
            )
            video.moving_objects = moving_objects
        return video

    def _pillar(self, random: np.random.Generator) -> MovingObject:
        height, width = self.size
        source = Pillar(int(random.integers(64)))
        x = float(random.uniform(0.05, 0.95)) * width
        motion = ScriptedMotion(
            times=(0.0, float(self._videos.config.length)),
            places=((x, height / 2), (x + float(random.normal(0, 0.1)) * width, height / 2)),
            scale=float(random.uniform(1.3, 2.0)) * height / source.extent,
            waves=(Wave(),) * 4,
        )
        return MovingObject(0, source, motion)
