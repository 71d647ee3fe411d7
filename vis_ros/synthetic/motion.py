"""Smooth motion of objects and of the camera: their pose at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Wave:
    """A smooth function of time in [-1, 1]: a sum of sinusoids.

    terms: (weight, period in frames, phase in turns); the weights sum to at most 1.
    """

    terms: tuple[tuple[float, float, float], ...] = ()

    def __call__(self, time: float) -> float:
        return float(sum(weight * np.sin(2 * np.pi * (time / period + phase)) for weight, period, phase in self.terms))

    @classmethod
    def random(cls, random: np.random.Generator, shortest: float, longest: float, count: int = 3) -> Wave:
        """A random wave with periods from `shortest` to `longest`. Slow terms have more weight, as in real motion."""
        periods = np.exp(random.uniform(np.log(shortest), np.log(longest), count))
        weights = periods * random.uniform(0.3, 1.0, count)
        weights /= weights.sum()
        return cls(tuple(zip(weights.tolist(), periods.tolist(), random.random(count).tolist(), strict=True)))


def ease(value: float) -> float:
    """Smoothstep: from 0 to 1 without a jump in speed; 0 below 0, 1 above 1."""
    value = min(max(value, 0.0), 1.0)
    return value * value * (3 - 2 * value)


@dataclass(frozen=True)
class Absence:
    """A time in which an object is outside the frame.

    begin, end: the object is away from `begin` to `end`, in frames. An infinite value makes it enter or leave for good.
    travel: frames it takes to leave, and to return.
    place: (x, y) outside the frame.
    """

    begin: float
    end: float
    travel: float
    place: tuple[float, float]

    def share(self, time: float) -> float:
        """0 if present, 1 if away, in between while traveling."""
        if time < self.begin:
            return ease(1 - (self.begin - time) / self.travel)
        return ease(1 - (time - self.end) / self.travel)


@dataclass(frozen=True)
class Pose:
    """Position and shape of an object crop in an image.

    x, y: center in pixels.
    scale_x, scale_y: image pixels per pixel of the crop; a negative scale_x mirrors it.
    angle: rotation in radians.
    shear: horizontal shift per unit of height.
    tilt_x, tilt_y: perspective; how much nearer one side is than the other, 0 for none.
    """

    x: float
    y: float
    scale_x: float
    scale_y: float
    angle: float = 0.0
    shear: float = 0.0
    tilt_x: float = 0.0
    tilt_y: float = 0.0

    def matrix(self, size: tuple[int, int]) -> Matrix:
        """(3, 3) float64, from pixels of a crop of (height, width) to pixels of the image."""
        height, width = size
        center = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]], np.float64)
        scale = np.array([[self.scale_x, self.shear * self.scale_y, 0], [0, self.scale_y, 0], [0, 0, 1]])
        longest = max(height, width)
        tilt = np.array([[1, 0, 0], [0, 1, 0], [self.tilt_x / longest, self.tilt_y / longest, 1]])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        place = np.array([[cos, -sin, self.x], [sin, cos, self.y], [0, 0, 1]])
        return place @ scale @ tilt @ center


@dataclass(frozen=True)
class ObjectMotion:
    """The pose of an object over time; all changes are smooth.

    home: (x, y) in pixels at time `middle`, without sway.
    scale: image pixels per pixel of the crop.
    waves: seven waves, of x, y, growth, turn, shear, tilt_x and tilt_y.
    velocity: (x, y) in pixels per frame.
    middle: time in frames.
    sway: (x, y) amplitude in pixels.
    absences: when the object is outside the frame.
    growth: amplitude of the logarithm of the scale.
    angle: mean rotation in radians; turn: amplitude of the rotation in radians; spin: rotation in radians per frame.
    shear, tilt: amplitudes, as in Pose.
    mirrored: flipped left to right.
    """

    home: tuple[float, float]
    scale: float
    waves: Sequence[Wave]
    velocity: tuple[float, float] = (0.0, 0.0)
    middle: float = 0.0
    sway: tuple[float, float] = (0.0, 0.0)
    absences: Sequence[Absence] = ()
    growth: float = 0.0
    angle: float = 0.0
    turn: float = 0.0
    spin: float = 0.0
    shear: float = 0.0
    tilt: float = 0.0
    mirrored: bool = False

    def position(self, time: float) -> tuple[float, float]:
        """Center (x, y) in pixels."""
        x = self.home[0] + self.velocity[0] * (time - self.middle) + self.sway[0] * self.waves[0](time)
        y = self.home[1] + self.velocity[1] * (time - self.middle) + self.sway[1] * self.waves[1](time)
        for absence in self.absences:
            share = absence.share(time)
            x += share * (absence.place[0] - x)
            y += share * (absence.place[1] - y)
        return x, y

    def pose(self, time: float) -> Pose:
        """The pose at a time in frames, which may be fractional."""
        x, y = self.position(time)
        growth, turn, shear, tilt_x, tilt_y = (wave(time) for wave in self.waves[2:])
        scale = self.scale * float(np.exp(self.growth * growth))
        return Pose(
            x=x,
            y=y,
            scale_x=-scale if self.mirrored else scale,
            scale_y=scale,
            angle=self.angle + self.turn * turn + self.spin * (time - self.middle),
            shear=self.shear * shear,
            tilt_x=self.tilt * tilt_x,
            tilt_y=self.tilt * tilt_y,
        )


@dataclass(frozen=True)
class CameraMotion:
    """A window that moves over a larger background image and never leaves it.

    source_size: (height, width) of the background.
    size: (height, width) of the frames.
    waves: six waves, of x, y, zoom, roll, and the fast ones of the shake in x and y.
    window: size of the window relative to the largest one that fits, 0 to 1.
    zoom: amplitude of the logarithm of the zoom, which is inwards only.
    pan: how much of the space around the window is used, 0 to 1.
    roll: amplitude in radians.
    shake: amplitude in pixels of the frame.
    stretch: aspect ratio (width / height) of a background pixel in the frame.
    center: mean position (x, y) of the window; 0 is the middle, 1 and -1 the limits.
    mirrored: flipped left to right.
    """

    source_size: tuple[int, int]
    size: tuple[int, int]
    waves: Sequence[Wave]
    window: float = 1.0
    zoom: float = 0.0
    pan: float = 1.0
    roll: float = 0.0
    shake: float = 0.0
    stretch: float = 1.0
    center: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False

    def matrix(self, time: float) -> Matrix:
        """(3, 3) float64, from pixels of the background to pixels of the frame."""
        height, width = self.size
        x, y, zoom, roll, shake_x, shake_y = (wave(time) for wave in self.waves)
        cos, sin = np.cos(self.roll * roll), np.sin(self.roll * roll)
        half_x = (width / 2 * abs(cos) + height / 2 * abs(sin) + self.shake) / self.stretch
        half_y = width / 2 * abs(sin) + height / 2 * abs(cos) + self.shake
        fit = min(self.source_size[1] / 2 / half_x, self.source_size[0] / 2 / half_y)
        step = fit * self.window * float(np.exp(-self.zoom * (1 + zoom) / 2))
        room_x = self.source_size[1] / 2 - half_x * step
        room_y = self.source_size[0] / 2 - half_y * step
        center_x = self.source_size[1] / 2 + room_x * _within(self.center[0] + self.pan * x)
        center_y = self.source_size[0] / 2 + room_y * _within(self.center[1] + self.pan * y)
        back = np.array([[1, 0, -center_x], [0, 1, -center_y], [0, 0, 1]])
        scale = np.diag([self.stretch / step * (-1 if self.mirrored else 1), 1 / step, 1.0])
        x_there, y_there = width / 2 + self.shake * shake_x, height / 2 + self.shake * shake_y
        place = np.array([[cos, -sin, x_there], [sin, cos, y_there], [0, 0, 1]])
        return place @ scale @ back

    def shake_matrix(self, time: float) -> Matrix:
        """(3, 3) float64: shake and roll only, in pixels of the frame. All objects follow it."""
        height, width = self.size
        roll, shake_x, shake_y = (wave(time) for wave in self.waves[3:])
        cos, sin = np.cos(self.roll * roll), np.sin(self.roll * roll)
        x_there, y_there = width / 2 + self.shake * shake_x, height / 2 + self.shake * shake_y
        place = np.array([[cos, -sin, x_there], [sin, cos, y_there], [0, 0, 1]])
        return place @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])


def _within(value: float) -> float:
    """Limit a value to [-1, 1] smoothly; small values hardly change."""
    return float(np.tanh(value)) if abs(value) > 1e-9 else 0.0
