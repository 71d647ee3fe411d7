"""CompositeVideos: videos composed from cut-out objects that move over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.data.cache import BoundedCache
from vis_ros.data.canvas import IGNORED, Canvas
from vis_ros.data.cutout import Cutout, ObjectSource
from vis_ros.data.labelled_frame import LabelledFrame
from vis_ros.data.motion import Absence, CameraMotion, Matrix, ObjectMotion, Pose, Wave


class Images(Protocol):
    """Labelled still images, by number."""

    def __len__(self) -> int: ...

    def frame(self, index: int) -> LabelledFrame: ...


class Camera(Protocol):
    """A moving view of a background."""

    def matrix(self, time: float) -> Matrix:
        """(3, 3), affine, from pixels of the background to pixels of the image."""
        ...

    def shake_matrix(self, time: float) -> Matrix:
        """(3, 3), the part of the motion that objects follow which do not stand in the scene."""
        ...


class Motion(Protocol):
    """The way of an object. `scale`: its usual pixels per pixel of the cut-out."""

    @property
    def scale(self) -> float: ...

    def position(self, time: float) -> tuple[float, float]: ...

    def pose(self, time: float) -> Pose: ...


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

    min_pixels, min_share: an object of which fewer pixels, or a smaller share of its whole outline, can be seen is not
    labelled and its pixels are ignored; a share however small is enough where it covers `large` of the frame.
    """

    length: int = 80
    objects: tuple[int, int] = (2, 8)
    sizes: tuple[float, float] = (0.06, 0.6)
    enlargement: float = 1.5

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

    min_pixels: int = 40
    min_share: float = 0.15
    large: float = 0.02


@dataclass(frozen=True, eq=False)
class Background:
    """An image, the objects that it brings along, and how the camera moves over it.

    owner: (h, w) int16, 0 = background, the object ids, IGNORED; class_ids, areas: by object id, areas in pixels.
    """

    image: NDArray[np.uint8]
    owner: NDArray[np.int16]
    class_ids: dict[int, int]
    areas: dict[int, float]

    @classmethod
    def of_frame(cls, frame: LabelledFrame, shortest_side: int | None = None) -> Background:
        """From a labelled image, reduced where its shorter side is longer than needed."""
        height, width = frame.image.shape[:2]
        owner = np.zeros((height, width), np.int16)
        if frame.ignored is not None:
            owner[frame.ignored] = IGNORED
        for number, mask in enumerate(frame.masks, start=1):
            owner[mask] = number
        image = frame.image
        scale = 1.0 if shortest_side is None else min(1.0, shortest_side / min(height, width))
        if scale < 1:
            size = round(width * scale), round(height * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            owner = cv2.resize(owner, size, interpolation=cv2.INTER_NEAREST)
        counts = np.bincount(np.maximum(owner, 0).ravel(), minlength=len(frame) + 1)
        numbers = range(1, len(frame) + 1)
        return cls(
            image=np.ascontiguousarray(image),
            owner=owner,
            class_ids={number: int(frame.class_ids[number - 1]) for number in numbers},
            areas={number: float(counts[number]) for number in numbers},
        )


@dataclass(frozen=True, eq=False)
class Actor:
    """A pasted object of one video: what it is, how it moves and how it is lit.

    phase, rate: the phase of its source at time 0, and how fast it goes on; anchor: the camera's inverse matrix at the
    moment from which it moves with the scene, None for an object that moves on its own; light: amplitude of its
    brightness, tint: its constant gain in B, G, R.
    """

    object_id: int
    source: ObjectSource
    motion: Motion
    phase: float = 0.0
    rate: float = 1.0
    anchor: Matrix | None = None
    light: float = 0.0
    light_wave: Wave = field(default_factory=Wave)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Look:
    """How the whole image is lit and recorded. shutter: in frames; light: amplitude of gain, gamma and tint; noise: in
    grey levels; blur: in pixels; quality: of the JPEG compression, None for none."""

    shutter: float = 0.0
    light: float = 0.0
    light_waves: Sequence[Wave] = field(default_factory=lambda: [Wave()] * 5)
    shadow: float = 0.0
    shadow_offset: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    blur: float = 0.0
    quality: int | None = None
    feather: bool = True

    @classmethod
    def random(cls, random: np.random.Generator, config: CompositeConfig) -> Look:
        """A look within the limits of the configuration."""
        draws: list[float] = random.random(8).tolist()
        return cls(
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


class CompositeVideo:
    """One composed video. `frame(time)` depends on nothing but the video and the time, a whole number of frames.

    actors: from the back to the front.
    """

    def __init__(
        self,
        size: tuple[int, int],
        background: Background,
        camera: Camera,
        actors: Sequence[Actor],
        look: Look,
        config: CompositeConfig,
        seed: int,
    ) -> None:
        self.size, self.background, self.camera = size, background, camera
        self.actors, self.look, self.config, self.seed = actors, look, config, seed
        self.length = config.length

    def __len__(self) -> int:
        return self.length

    def frame(self, time: int) -> LabelledFrame:
        """The image at a time in frames, with every object that can be seen in it."""
        canvas = Canvas(self.size)
        camera = self.camera.matrix(time)
        middle = np.linalg.inv(camera) @ np.array([self.size[1] / 2, self.size[0] / 2, 1.0])
        motion = self._smear(self.camera.matrix, middle, time)
        canvas.draw_background(self.background.image, self.background.owner, camera, motion)
        enlargement = abs(float(np.linalg.det(camera[:2, :2])))
        canvas.areas.update({number: area * enlargement for number, area in self.background.areas.items()})
        for actor in self.actors:
            self._draw(canvas, actor, time)
        image = self._record(canvas.image, time)
        return self._label(canvas, image)

    def _smear(self, matrix_at: Callable[[float], Matrix], point: Matrix, time: float) -> tuple[float, float]:
        """Pixels (x, y) that a point of a layer moves while the shutter is open."""
        if not self.look.shutter:
            return 0.0, 0.0
        before, after = (matrix_at(time + side * self.look.shutter / 2) @ point for side in (-1, 1))
        x, y = after[:2] / after[2] - before[:2] / before[2]
        return float(x), float(y)

    def _matrix(self, actor: Actor, time: float, size: tuple[int, int]) -> Matrix:
        own = actor.motion.pose(time).matrix(size)
        if actor.anchor is not None:
            return self.camera.matrix(time) @ actor.anchor @ own
        return self.camera.shake_matrix(time) @ own

    def _draw(self, canvas: Canvas, actor: Actor, time: int) -> None:
        cutout = actor.source.cutout(actor.phase + actor.rate * time)
        matrix = self._matrix(actor, time, cutout.size)
        middle = np.array([cutout.size[1] / 2, cutout.size[0] / 2, 1.0])
        smear = self._smear(lambda moment: self._matrix(actor, moment, cutout.size), middle, time)
        if self.look.shadow:
            self._shade(canvas, actor, cutout, matrix)
        gain = 1 + actor.light * actor.light_wave(time)
        blue, green, red = (gain * tint for tint in actor.tint)
        canvas.draw(cutout, actor.object_id, matrix, smear, (blue, green, red), hard_edge=not self.look.feather)

    def _shade(self, canvas: Canvas, actor: Actor, cutout: Cutout, matrix: Matrix) -> None:
        side = actor.motion.scale * max(cutout.size)
        x, y = self.look.shadow_offset
        moved = np.array([[1, 0, x * side], [0, 1, y * side], [0, 0, 1]])
        canvas.shade(cutout, moved @ matrix, 0.06 * side + 1, self.look.shadow)

    def _record(self, image: NDArray[np.uint8], time: int) -> NDArray[np.uint8]:
        """Light, defocus, noise and compression of the whole image."""
        look = self.look
        if look.light:
            image = cv2.LUT(image, _light_table(look, time))
        if look.blur >= 0.3:
            image = cv2.GaussianBlur(image, (0, 0), look.blur)
        if look.noise >= 0.3:
            image = _add_noise(image, look.noise, np.random.default_rng((self.seed, time + 2**20)))
        if look.quality is not None:
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, look.quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return np.ascontiguousarray(image)

    def _label(self, canvas: Canvas, image: NDArray[np.uint8]) -> LabelledFrame:
        owner = canvas.owner
        counts = np.bincount(np.maximum(owner, 0).ravel(), minlength=1)
        class_of = dict(self.background.class_ids)
        class_of.update({actor.object_id: actor.source.class_id for actor in self.actors})
        shown: list[int] = []
        hidden = [IGNORED]
        for number in np.flatnonzero(counts).tolist():
            if number:
                (shown if self._visible(int(counts[number]), canvas.areas[number]) else hidden).append(number)
        ignored = np.logical_or.reduce([owner == number for number in hidden])
        return LabelledFrame(
            image=image,
            object_ids=np.array(shown, np.int32),
            class_ids=np.array([class_of[number] for number in shown], np.int32),
            masks=np.array([owner == number for number in shown], np.bool_).reshape(-1, *self.size),
            pasted=np.array([number not in self.background.class_ids for number in shown], np.bool_),
            ignored=ignored if ignored.any() else None,
        )

    def _visible(self, pixels: int, area: float) -> bool:
        if pixels < self.config.min_pixels:
            return False
        frame_area = self.size[0] * self.size[1]
        return pixels >= self.config.min_share * area or pixels >= self.config.large * frame_area


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
        return CompositeVideo(
            self.size, background, camera, actors, Look.random(random, self.config), self.config, int(seed)
        )

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
        canvas = Canvas(self.size)
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

    def _actors(self, random: np.random.Generator, camera: CameraMotion, first: int, empty: bool) -> list[Actor]:
        low, high = self.config.objects
        count = int(random.integers(low, high + 1))
        away = self._empty_time(random) if empty else None
        actors: list[Actor] = []
        for number in range(count):
            source, size = self._choose(random, actors)
            motion = self._object_motion(random, source, size, actors, away)
            stands = random.random() < self.config.standing
            middle = self.config.length * float(random.random())
            anchor = np.linalg.inv(camera.matrix(middle)) @ camera.shake_matrix(middle) if stands else None
            actors.append(
                Actor(
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
        depth = [-actor.motion.scale * actor.source.extent * float(random.uniform(0.4, 2.5)) for actor in actors]
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

    def _choose(self, random: np.random.Generator, actors: Sequence[Actor]) -> tuple[ObjectSource, float]:
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
        others: Sequence[Actor],
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


def _meet(motion: ObjectMotion, other: Motion, time: float) -> ObjectMotion:
    """The same motion, moved so that it is where the other one is at a time."""
    here, there = motion.position(time), other.position(time)
    home = motion.home[0] + there[0] - here[0], motion.home[1] + there[1] - here[1]
    return replace(motion, home=home)


def _light_table(look: Look, time: int) -> NDArray[np.uint8]:
    """(1, 256, 3) uint8: gain, gamma and colour of the light at a time."""
    gain, gamma, *tints = (look.light * wave(time) for wave in look.light_waves)
    grey = np.linspace(0, 1, 256) ** float(np.exp(gamma))
    gains = np.exp(gain + 0.4 * np.array(tints))
    return np.clip(np.rint(255 * grey[:, None] * gains), 0, 255).astype(np.uint8)[None]


@lru_cache(maxsize=2)
def _noise_tile(side: int) -> NDArray[np.int16]:
    """(side, side, 3) Gaussian noise with a deviation of 64."""
    return np.rint(np.random.default_rng(0).normal(0, 64, (side, side, 3))).astype(np.int16)


def _add_noise(image: NDArray[np.uint8], deviation: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Gaussian noise: a random window of one fixed tile, because drawing it anew takes longer than the whole frame."""
    height, width = image.shape[:2]
    side = 1024 * ((max(height, width) + 64 + 1023) // 1024)
    y, x = random.integers(side - height + 1), random.integers(side - width + 1)
    noise = (_noise_tile(side)[y : y + height, x : x + width] * np.int16(round(deviation * 16))) >> 10
    return cv2.add(image, noise, dtype=cv2.CV_8U)
