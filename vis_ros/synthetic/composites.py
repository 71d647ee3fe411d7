"""CompositeVideos: videos composed from cut-out objects that move over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from vis_ros.synthetic.appearance import Appearance
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.composite_video import Background, CompositeVideo, Motion, MovingObject, Visibility
from vis_ros.synthetic.labelled_frame import LabelledFrame
from vis_ros.synthetic.layered_image import LayeredImage
from vis_ros.synthetic.motion import Absence, CameraMotion, ObjectMotion, Wave
from vis_ros.synthetic.object_crop import ObjectSource


class Images(Protocol):
    """Labelled still images, by number."""

    def __len__(self) -> int: ...

    def frame(self, index: int) -> LabelledFrame: ...


class Video(Protocol):
    """A video with ground truth; any frame at any time, in any order. `length` is its natural number of frames."""

    length: int

    def frame(self, time: int) -> LabelledFrame: ...


class Videos(Protocol):
    """As many videos as there are seeds; the same seed gives the same video."""

    def video(self, seed: int) -> Video: ...


@dataclass(frozen=True)
class CompositeConfig:
    """What happens in a composed video. Every effect is switched off by 0 (`feather` by False).

    length: frames; the slow motions are made for this length.
    objects: fewest and most pasted objects of a video.
    sizes: smallest and largest longest side of an object in frame heights, drawn log-uniformly.
    enlargement: an object is never enlarged more than this; small cut-outs stay small rather than blurred.
    depth: how surely the larger of two objects lies behind the smaller one; 0 is any order.

    feather: blend the outline softly instead of cutting it hard.
    speed: sway and drift of the objects, 1 = up to a third of the frame to and fro; growth: of the logarithm of the
    size; turn: swinging rotation in radians; spin: probability that an object keeps turning; shear, tilt: shear and
    perspective; mirror: probability that an object is mirrored.
    absence: probability that an object enters, leaves, or leaves and returns; meeting: probability that an object's way
    crosses that of another; standing: probability that it stands in the scene and moves with the camera.
    same_class, duplicate: probabilities that an object has the class of an earlier one, or is an exact copy of it.
    empty: probability that all pasted objects are away for a while.

    pan, zoom, roll, shake: camera motion over the background, 1 = the strongest that looks natural; still: probability
    that the camera does not move at all.
    motion_blur: longest shutter time in frames; object_light, light: change of each object's and of the whole image's
    brightness and colour over time; shadow: darkness of the soft shadow below an object; noise: largest standard
    deviation in grey levels; blur: largest defocus of the whole image in pixels; compression: probability of JPEG.

    visibility: when an object is labelled and when its pixels are ignored.
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
    """Videos composed from cut-out objects over the images of a data set, by seed.

    images: the backgrounds, whose own labelled objects move with them and are labelled; objects: what is pasted;
    size: (height, width) of the frames; cached_images: backgrounds kept in memory (about 1.5 MB each at 640x480).

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
            raise ValueError('composed videos need at least one background image')
        config = config or CompositeConfig()
        if not objects and config.objects[1] > 0:
            raise ValueError('composed videos need at least one object to paste')
        self.images, self.objects, self.size, self.config = images, list(objects), size, config
        self._backgrounds: BoundedCache[Background] = BoundedCache(cached_images)
        self._of_class: dict[int, list[ObjectSource]] = {}
        for source in self.objects:
            self._of_class.setdefault(source.class_id, []).append(source)

    def video(self, seed: int) -> CompositeVideo:
        """Video number `seed`, any whole number from 0."""
        random = np.random.default_rng((int(seed), 0x5EED))
        empty = bool(random.random() < self.config.empty)
        background, camera = self._background(random, empty)
        actors = self._actors(random, camera, len(background.class_ids), empty)
        look = random_look(random, self.config)
        length, visibility = self.config.length, self.config.visibility
        return CompositeVideo(self.size, background, camera, actors, look, int(seed), length, visibility)

    def background(self, index: int) -> Background:
        """Background image `index`, reduced to what the frames need. Those used last are kept in memory."""
        shortest = round(1.7 * self.size[0])
        return self._backgrounds.get(index, lambda: Background.of_frame(self.images.frame(index), shortest))

    def _background(self, random: np.random.Generator, empty: bool) -> tuple[Background, CameraMotion]:
        """A background and a camera path; for an empty video one that shows no object, if ten tries find it."""
        for _ in range(10):
            background = self.background(int(random.integers(len(self.images))))
            camera = self._camera(random, background.owner.shape, empty)
            if not empty or not self._shows_object(background, camera):
                break
        return background, camera

    def _shows_object(self, background: Background, camera: CameraMotion) -> bool:
        canvas = LayeredImage(self.size)
        canvas.draw_background(background.image, background.owner, camera.matrix(self.config.length / 2))
        return bool(canvas.owner.any())

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
            centre=(float(random.uniform(-0.8, 0.8)), float(random.uniform(-0.8, 0.8))),
            mirrored=bool(random.random() < 0.5),
        )

    def _actors(self, random: np.random.Generator, camera: CameraMotion, first: int, empty: bool) -> list[MovingObject]:
        low, high = self.config.objects
        count = int(random.integers(low, high + 1))
        away = self._empty_time(random) if empty else None
        actors: list[MovingObject] = []
        for number in range(count):
            source, size = self._choose(random, actors)
            motion = self._object_motion(random, source, size, actors, away)
            stands = random.random() < self.config.standing
            middle = self.config.length * float(random.random())
            anchor = np.linalg.inv(camera.matrix(middle)) @ camera.shake_matrix(middle) if stands else None
            actors.append(
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
        # Mostly the large ones behind: nearer things would hide everything.
        sides = [actor.motion.scale * actor.source.extent for actor in actors]
        depth = [-(side**self.config.depth) * float(random.uniform(0.4, 2.5)) for side in sides]
        return [actors[index] for index in np.argsort(depth)]

    def _tint(self, random: np.random.Generator) -> tuple[float, float, float]:
        strength = self.config.object_light
        common = random.uniform(-1, 1)
        blue, green, red = (float(np.exp(strength * (common + 0.4 * own))) for own in random.uniform(-1, 1, 3))
        return blue, green, red

    def _empty_time(self, random: np.random.Generator) -> tuple[float, float]:
        length = self.config.length
        begin = float(random.uniform(-0.2, 0.6)) * length
        return begin, begin + float(random.uniform(0.2, 0.6)) * length

    def _choose(self, random: np.random.Generator, actors: Sequence[MovingObject]) -> tuple[ObjectSource, float]:
        """What to paste, and its longest side in pixels."""
        low, high = self.config.sizes
        size = self.size[0] * float(np.exp(random.uniform(np.log(low), np.log(high))))
        draw = random.random()
        if actors and draw < self.config.duplicate:
            twin = actors[int(random.integers(len(actors)))]
            return twin.source, twin.motion.scale * twin.source.extent * float(np.exp(random.uniform(-0.2, 0.2)))
        candidates = self.objects
        if actors and draw < self.config.duplicate + self.config.same_class:
            candidates = self._of_class[actors[int(random.integers(len(actors)))].source.class_id]
        for _ in range(8):
            source = candidates[int(random.integers(len(candidates)))]
            if source.extent * self.config.enlargement >= size:
                break
        return source, min(size, source.extent * self.config.enlargement)

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


def random_look(random: np.random.Generator, config: CompositeConfig) -> Appearance:
    """A look within the limits of the configuration."""
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
    """The same motion, moved so that it is where the other one is at a time."""
    here, there = motion.position(time), other.position(time)
    home = motion.home[0] + there[0] - here[0], motion.home[1] + there[1] - here[1]
    return replace(motion, home=home)
