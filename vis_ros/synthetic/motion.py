"""Motion: smooth paths, and the pose of an object or of the camera at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Wave:
    """A smooth function of time within [-1, 1]: a sum of sinusoids. `terms` are (weight, period, phase), the weights
    add up to at most 1, periods in frames, phases in turns."""

    terms: tuple[tuple[float, float, float], ...] = ()

    def __call__(self, time: float) -> float:
        return float(sum(weight * np.sin(2 * np.pi * (time / period + phase)) for weight, period, phase in self.terms))

    @classmethod
    def random(cls, random: np.random.Generator, shortest: float, longest: float, count: int = 3) -> Wave:
        """Slow terms weigh more than fast ones, as in real motion."""
        periods = np.exp(random.uniform(np.log(shortest), np.log(longest), count))
        weights = periods * random.uniform(0.3, 1.0, count)
        weights /= weights.sum()
        return cls(tuple(zip(weights.tolist(), periods.tolist(), random.random(count).tolist(), strict=True)))


def ease(value: float) -> float:
    """From 0 to 1 with no jump in speed: 0 below 0, 1 above 1."""
    value = min(max(value, 0.0), 1.0)
    return value * value * (3 - 2 * value)


@dataclass(frozen=True)
class Absence:
    """A time away: the object moves to `place` (x, y), outside the frame, and comes back.

    It is wholly away from `begin` to `end`; going and coming take `travel` frames each. An infinite begin or end lets
    it enter or leave for good.
    """

    begin: float
    end: float
    travel: float
    place: tuple[float, float]

    def share(self, time: float) -> float:
        """0 = present, 1 = away."""
        if time < self.begin:
            return ease(1 - (self.begin - time) / self.travel)
        return ease(1 - (time - self.end) / self.travel)


@dataclass(frozen=True)
class Pose:
    """Where and how a cut-out lies in the image.

    x, y: of its centre in pixels; scale_x, scale_y: pixels per pixel of the cut-out, scale_x negative mirrors it;
    angle: radians; shear; tilt_x, tilt_y: perspective, how much nearer one side is than the other (0 = flat).
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
        """(3, 3) float64, from the pixels of a cut-out of (height, width) to those of the image."""
        height, width = size
        centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]], np.float64)
        scale = np.array([[self.scale_x, self.shear * self.scale_y, 0], [0, self.scale_y, 0], [0, 0, 1]])
        longest = max(height, width)
        tilt = np.array([[1, 0, 0], [0, 1, 0], [self.tilt_x / longest, self.tilt_y / longest, 1]])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        place = np.array([[cos, -sin, self.x], [sin, cos, self.y], [0, 0, 1]])
        return place @ scale @ tilt @ centre


@dataclass(frozen=True)
class ObjectMotion:
    """The pose of an object over time, every part of it smooth.

    home, velocity: (x, y) in pixels and pixels a frame, the velocity counted from time `middle`; sway: (x, y) pixels,
    amplitudes of the waves around it; absences: when it is outside the frame.
    scale: pixels per pixel of the cut-out; growth: amplitude of its logarithm; turn, shear, tilt: amplitudes (radians,
    and as in Pose); spin: radians a frame; angle: radians; mirrored: flipped left to right for good.
    waves: for x, y, growth, turn, shear, tilt_x, tilt_y.
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
        """(x, y) of the centre in pixels."""
        x = self.home[0] + self.velocity[0] * (time - self.middle) + self.sway[0] * self.waves[0](time)
        y = self.home[1] + self.velocity[1] * (time - self.middle) + self.sway[1] * self.waves[1](time)
        for absence in self.absences:
            share = absence.share(time)
            x += share * (absence.place[0] - x)
            y += share * (absence.place[1] - y)
        return x, y

    def pose(self, time: float) -> Pose:
        """The pose at a time in frames, which may be a fraction."""
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

    source_size, size: (height, width) of the background and of the image made from it.
    window: how much of the largest window that fits is shown, 0 to 1; zoom: amplitude of its logarithm (only inwards);
    pan: 0 to 1, how much of the room around the window is used; roll: radians; shake: pixels of the made image;
    stretch: width over height of a background pixel in the made image; mirrored: left to right.
    waves: for x, y, zoom, roll, and the fast ones for shake in x, y.
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
    centre: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False

    def matrix(self, time: float) -> Matrix:
        """(3, 3) float64, from pixels of the background to pixels of the image."""
        height, width = self.size
        x, y, zoom, roll, shake_x, shake_y = (wave(time) for wave in self.waves)
        cos, sin = np.cos(self.roll * roll), np.sin(self.roll * roll)
        half_x = (width / 2 * abs(cos) + height / 2 * abs(sin) + self.shake) / self.stretch
        half_y = width / 2 * abs(sin) + height / 2 * abs(cos) + self.shake
        fit = min(self.source_size[1] / 2 / half_x, self.source_size[0] / 2 / half_y)
        step = fit * self.window * float(np.exp(-self.zoom * (1 + zoom) / 2))
        room_x = self.source_size[1] / 2 - half_x * step
        room_y = self.source_size[0] / 2 - half_y * step
        centre_x = self.source_size[1] / 2 + room_x * _within(self.centre[0] + self.pan * x)
        centre_y = self.source_size[0] / 2 + room_y * _within(self.centre[1] + self.pan * y)
        back = np.array([[1, 0, -centre_x], [0, 1, -centre_y], [0, 0, 1]])
        scale = np.diag([self.stretch / step * (-1 if self.mirrored else 1), 1 / step, 1.0])
        x_there, y_there = width / 2 + self.shake * shake_x, height / 2 + self.shake * shake_y
        place = np.array([[cos, -sin, x_there], [sin, cos, y_there], [0, 0, 1]])
        return place @ scale @ back

    def shake_matrix(self, time: float) -> Matrix:
        """(3, 3) float64, the shake and roll alone, in pixels of the image: what also moves objects that follow."""
        height, width = self.size
        roll, shake_x, shake_y = (wave(time) for wave in self.waves[3:])
        cos, sin = np.cos(self.roll * roll), np.sin(self.roll * roll)
        x_there, y_there = width / 2 + self.shake * shake_x, height / 2 + self.shake * shake_y
        place = np.array([[cos, -sin, x_there], [sin, cos, y_there], [0, 0, 1]])
        return place @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])


def _within(value: float) -> float:
    """A smooth limit to [-1, 1] that leaves small values as they are."""
    return float(np.tanh(value)) if abs(value) > 1e-9 else 0.0
