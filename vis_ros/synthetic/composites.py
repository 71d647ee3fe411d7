"""CompositeVideos: synthetic videos of object crops that move over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from vis_ros.synthetic.appearance import Appearance
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.composite_video import Background, CompositeVideo, Motion, MovingObject, Visibility
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.layered_image import LayeredImage
from vis_ros.synthetic.motion import Absence, CameraMotion, ObjectMotion, Wave
from vis_ros.synthetic.object_crop import ObjectSource


class Images(Protocol):
    """Labeled still images by number."""

    def __len__(self) -> int: ...

    def frame(self, index: int) -> LabeledFrame: ...


class Video(Protocol):
    """A video with ground truth. Frames can be made in any order; `length` is the nominal number of frames."""

    length: int

    def frame(self, time: int) -> LabeledFrame: ...


class Videos(Protocol):
    """Videos by seed; the same seed gives the same video."""

    def video(self, seed: int) -> Video: ...


@dataclass(frozen=True)
class CompositeConfig:
    """The effects in a synthetic video. 0 switches an effect off (False for `feather`).

    length: frames; slow motions are scaled to it.
    objects: minimum and maximum number of pasted objects.
    sizes: minimum and maximum longest side of an object in frame heights, drawn log-uniformly.
    enlargement: largest enlargement of a crop; small crops stay small instead of becoming blurred.
    depth: how reliably the larger of two objects is behind the smaller one; 0 for random order.

    feather: blend outlines softly.
    speed: sway and drift of the objects; at 1 they sway across up to a third of the frame.
    growth: amplitude of the logarithm of the size.
    turn: amplitude of the rotation in radians.
    spin: probability that an object rotates continuously.
    shear, tilt: amplitudes of shear and perspective.
    mirror: probability that an object is mirrored.
    absence: probability that an object enters, leaves, or leaves and returns.
    meeting: probability that the path of an object crosses that of another.
    standing: probability that an object stands in the scene and moves with the camera.
    class_balance: how much rare classes are favored: 0 draws every object of the source equally often, 1 every class.
    same_class: probability that an object has the class of an earlier one.
    duplicate: probability that an object is an exact copy of an earlier one.
    empty: probability that all pasted objects are absent for a while.

    pan, zoom, roll, shake: camera motion over the background; 1 is the strongest that looks natural.
    still: probability that the camera does not move.
    motion_blur: longest exposure time in frames.
    object_light: change of the brightness and color of each object.
    light: change of the brightness and color of the whole image.
    shadow: darkness of the soft shadow of an object.
    noise: largest standard deviation in gray levels.
    blur: largest defocus in pixels.
    compression: probability of JPEG compression.

    visibility: when an object is labeled; otherwise its pixels are ignored.
    """

    length: int = 80
    objects: tuple[int, int] = (2, 8)
    sizes: tuple[float, float] = (0.06, 0.6)
    enlargement: float = 1.5
    depth: float = 1.0

    feather: bool = True
    speed: float = 1.0
    growth: float = 0.35
    turn: float = 0.3
    spin: float = 0.1
    shear: float = 0.15
    tilt: float = 0.25
    mirror: float = 0.5
    absence: float = 0.5
    meeting: float = 0.4
    standing: float = 0.5
    class_balance: float = 0.0
    same_class: float = 0.3
    duplicate: float = 0.15
    empty: float = 0.05

    pan: float = 1.0
    zoom: float = 0.25
    roll: float = 0.04
    shake: float = 1.0
    still: float = 0.2
    motion_blur: float = 0.5
    object_light: float = 0.12
    light: float = 0.2
    shadow: float = 0.4
    noise: float = 5.0
    blur: float = 0.8
    compression: float = 0.5

    visibility: Visibility = field(default_factory=Visibility)


class CompositeVideos:
    """Synthetic videos of object crops that move over the images of a data set, by seed.

    Args:
        images: the backgrounds. Their own labeled objects move with them and stay labeled.
        objects: the objects to paste.
        size: (height, width) of the frames.
        config: the effects; None for the defaults.
        cached_images: number of backgrounds kept in memory (about 1.5 MB each at 640x480).

    Raises:
        ValueError: there is no background, or no object although the config asks for some.

    >>> videos = CompositeVideos(dataset, dataset.objects(), (288, 512))       # doctest: +SKIP
    >>> key, reference = (videos.video(7).frame(time) for time in (3, 20))     # doctest: +SKIP
    """

    def __init__(
        self,
        images: Images,
        objects: Sequence[ObjectSource],
        size: tuple[int, int],
        config: CompositeConfig | None = None,
        cached_images: int = 128,
    ) -> None:
        if not len(images):
            raise ValueError('synthetic videos need at least one background image')
        config = config or CompositeConfig()
        if not objects and config.objects[1] > 0:
            raise ValueError('synthetic videos need at least one object to paste')
        self.images, self.objects, self.size, self.config = images, list(objects), size, config
        self._backgrounds: BoundedCache[Background] = BoundedCache(cached_images)
        self._of_class: dict[int, list[ObjectSource]] = {}
        for source in self.objects:
            self._of_class.setdefault(source.class_id, []).append(source)
        shares = np.array([len(sources) ** (1 - config.class_balance) for sources in self._of_class.values()])
        self._class_shares = shares / max(shares.sum(), 1)

    def video(self, seed: int) -> CompositeVideo:
        """Video number `seed`, any integer from 0."""
        random = np.random.default_rng((int(seed), 0x5EED))
        empty = bool(random.random() < self.config.empty)
        background, camera = self._background(random, empty)
        moving_objects = self._moving_objects(random, camera, len(background.class_ids), empty)
        appearance = random_appearance(random, self.config)
        length, visibility = self.config.length, self.config.visibility
        return CompositeVideo(self.size, background, camera, moving_objects, appearance, int(seed), length, visibility)

    def background(self, index: int) -> Background:
        """Background image `index`, reduced to the resolution the frames need. Recently used ones are cached."""
        shortest = round(1.7 * self.size[0])
        return self._backgrounds.get(index, lambda: Background.of_frame(self.images.frame(index), shortest))

    def _background(self, random: np.random.Generator, empty: bool) -> tuple[Background, CameraMotion]:
        """A background and a camera path. For an empty video, ten tries to find one that shows no object."""
        for _ in range(10):
            background = self.background(int(random.integers(len(self.images))))
            camera = self._camera(random, background.owner.shape, empty)
            if not empty or not self._shows_object(background, camera):
                break
        return background, camera

    def _shows_object(self, background: Background, camera: CameraMotion) -> bool:
        layers = LayeredImage(self.size)
        layers.draw_background(background.image, background.owner, camera.matrix(self.config.length / 2))
        return bool(layers.owner.any())

    def _camera(self, random: np.random.Generator, source_size: tuple[int, ...], near: bool) -> CameraMotion:
        config, height = self.config, self.size[0]
        moves = 0.0 if random.random() < config.still else 1.0
        slow = [Wave.random(random, 50, 300) for _ in range(4)]
        fast = [Wave.random(random, 4, 30, 4) for _ in range(2)]
        return CameraMotion(
            source_size=(source_size[0], source_size[1]),
            size=self.size,
            waves=(*slow, *fast),
            window=float(random.uniform(0.35, 0.6) if near else random.uniform(0.6, 1.0)),
            zoom=moves * config.zoom * float(random.random()),
            pan=moves * config.pan * float(random.uniform(0.1, 0.8)),
            roll=moves * config.roll * float(random.random()),
            shake=moves * config.shake * float(random.random() ** 2) * 0.03 * height,
            stretch=float(np.exp(random.uniform(-0.1, 0.1))),
            center=(float(random.uniform(-0.8, 0.8)), float(random.uniform(-0.8, 0.8))),
            mirrored=bool(random.random() < 0.5),
        )

    def _moving_objects(
        self, random: np.random.Generator, camera: CameraMotion, first: int, empty: bool
    ) -> list[MovingObject]:
        low, high = self.config.objects
        count = int(random.integers(low, high + 1))
        away = self._empty_time(random) if empty else None
        moving_objects: list[MovingObject] = []
        for number in range(count):
            source, size = self._choose(random, moving_objects)
            motion = self._object_motion(random, source, size, moving_objects, away)
            stands = random.random() < self.config.standing
            middle = self.config.length * float(random.random())
            anchor = np.linalg.inv(camera.matrix(middle)) @ camera.shake_matrix(middle) if stands else None
            moving_objects.append(
                MovingObject(
                    object_id=first + number + 1,
                    source=source,
                    motion=motion,
                    phase=float(random.uniform(0, 200)),
                    rate=float(random.uniform(0.5, 1.5)),
                    anchor=anchor,
                    light=self.config.object_light * float(random.random()),
                    light_wave=Wave.random(random, 20, 200),
                    tint=self._tint(random),
                )
            )
        # Large objects go to the back, where they hide less.
        sides = [moving.motion.scale * moving.source.extent for moving in moving_objects]
        depth = [-(side**self.config.depth) * float(random.uniform(0.4, 2.5)) for side in sides]
        return [moving_objects[index] for index in np.argsort(depth)]

    def _tint(self, random: np.random.Generator) -> tuple[float, float, float]:
        strength = self.config.object_light
        common = random.uniform(-1, 1)
        blue, green, red = (float(np.exp(strength * (common + 0.4 * own))) for own in random.uniform(-1, 1, 3))
        return blue, green, red

    def _empty_time(self, random: np.random.Generator) -> tuple[float, float]:
        length = self.config.length
        begin = float(random.uniform(-0.2, 0.6)) * length
        return begin, begin + float(random.uniform(0.2, 0.6)) * length

    def _choose(
        self, random: np.random.Generator, moving_objects: Sequence[MovingObject]
    ) -> tuple[ObjectSource, float]:
        """An object to paste, and its longest side in pixels."""
        low, high = self.config.sizes
        size = self.size[0] * float(np.exp(random.uniform(np.log(low), np.log(high))))
        draw = random.random()
        if moving_objects and draw < self.config.duplicate:
            twin = moving_objects[int(random.integers(len(moving_objects)))]
            return twin.source, twin.motion.scale * twin.source.extent * float(np.exp(random.uniform(-0.2, 0.2)))
        candidates = self._candidates(random)
        if moving_objects and draw < self.config.duplicate + self.config.same_class:
            candidates = self._of_class[moving_objects[int(random.integers(len(moving_objects)))].source.class_id]
        for _ in range(8):
            source = candidates[int(random.integers(len(candidates)))]
            if source.extent * self.config.enlargement >= size:
                break
        return source, min(size, source.extent * self.config.enlargement)

    def _candidates(self, random: np.random.Generator) -> list[ObjectSource]:
        """All objects, or with `class_balance` those of a class drawn by its share."""
        if not self.config.class_balance:
            return self.objects
        classes = list(self._of_class.values())
        return classes[int(random.choice(len(classes), p=self._class_shares))]

    def _object_motion(
        self,
        random: np.random.Generator,
        source: ObjectSource,
        size: float,
        others: Sequence[MovingObject],
        away: tuple[float, float] | None,
    ) -> ObjectMotion:
        config, (height, width), length = self.config, self.size, self.config.length
        home = float(random.uniform(0.08, 0.92)) * width, float(random.uniform(0.1, 0.9)) * height
        strength = config.speed * float(random.random())
        sway = strength * 0.33 * width * float(random.random()), strength * 0.33 * height * float(random.random())
        drift = random.normal(0, 0.4, 2) * config.speed * height / length
        waves = (
            *(Wave.random(random, 25, 250) for _ in range(2)),
            *(Wave.random(random, 30, 200) for _ in range(5)),
        )
        motion = ObjectMotion(
            home=home,
            scale=size / source.extent,
            waves=waves,
            velocity=(float(drift[0]), float(drift[1])),
            middle=length * float(random.uniform(0.2, 0.8)),
            sway=sway,
            absences=self._absences(random, home, size, away),
            growth=config.growth * float(random.random()),
            angle=config.turn * float(random.normal(0, 0.4)),
            turn=config.turn * float(random.random()),
            spin=float(random.normal(0, 0.06)) if random.random() < config.spin else 0.0,
            shear=config.shear * float(random.random()),
            tilt=config.tilt * float(random.random()),
            mirrored=bool(random.random() < config.mirror),
        )
        if others and random.random() < config.meeting:
            other = others[int(random.integers(len(others)))]
            motion = _meet(motion, other.motion, length * float(random.uniform(0.1, 0.9)))
        return motion

    def _absences(
        self, random: np.random.Generator, home: tuple[float, float], size: float, away: tuple[float, float] | None
    ) -> tuple[Absence, ...]:
        length = self.config.length
        absences = []
        if random.random() < self.config.absence:
            kind = int(random.integers(3))
            begin = float(random.uniform(0.1, 0.6)) * length
            end = begin + float(random.uniform(0.05, 0.35)) * length
            begin, end = ((-np.inf, begin), (end, np.inf), (begin, end))[kind]
            absences.append(self._absence(random, home, size, begin, end))
        if away is not None:
            absences.append(self._absence(random, home, size, *away))
        return tuple(absences)

    def _absence(
        self, random: np.random.Generator, home: tuple[float, float], size: float, begin: float, end: float
    ) -> Absence:
        height, width = self.size
        beyond = 0.9 * size + 0.06 * height
        places = (
            *((-beyond, home[1]), (width + beyond, home[1])),
            *((home[0], -beyond), (home[0], height + beyond)),
        )
        place = places[int(random.choice(4, p=(0.35, 0.35, 0.1, 0.2)))]
        return Absence(begin, end, float(random.uniform(8, 35)), place)


def random_appearance(random: np.random.Generator, config: CompositeConfig) -> Appearance:
    """A random appearance within the limits of a config."""
    draws: list[float] = random.random(8).tolist()
    return Appearance(
        shutter=config.motion_blur * draws[0] * (draws[1] < 0.7),
        light=config.light * draws[2],
        light_waves=tuple(Wave.random(random, 30, 300) for _ in range(5)),
        shadow=config.shadow * draws[3] * (draws[4] < 0.6),
        shadow_offset=(float(random.uniform(-0.08, 0.08)), float(random.uniform(0.02, 0.1))),
        noise=config.noise * draws[5] ** 2,
        blur=config.blur * draws[6] ** 2,
        quality=int(random.integers(35, 96)) if draws[7] < config.compression else None,
        feather=config.feather,
    )


def _meet(motion: ObjectMotion, other: Motion, time: float) -> ObjectMotion:
    """The motion shifted so that its position at a time is that of another motion."""
    here, there = motion.position(time), other.position(time)
    home = motion.home[0] + there[0] - here[0], motion.home[1] + there[1] - here[1]
    return replace(motion, home=home)
