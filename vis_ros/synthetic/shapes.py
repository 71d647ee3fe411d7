"""ShapeObject and TexturedImages: procedural objects and backgrounds, for videos that need no photographs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.object_crop import ObjectCrop

Field = NDArray[np.float32]
_SIDE = 176
"""Side of a crop in pixels; the shape covers about 160 of them."""


class ShapeObject:
    """An ObjectSource with a random shape, color and texture. The same seed gives the same object."""

    extent = 160.0

    def __init__(self, seed: int, class_id: int) -> None:
        self.seed, self.class_id = seed, class_id
        self._crop: ObjectCrop | None = None

    def crop(self, phase: float) -> ObjectCrop:
        """The object; it is the same at every phase."""
        if self._crop is None:
            self._crop = draw_shape(self.seed, self.class_id)
        return self._crop


def draw_shape(seed: int, class_id: int) -> ObjectCrop:
    """An object crop of 176x176 pixels: an outline, a texture, and the shading of a rounded body."""
    random = np.random.default_rng((seed, 0x54A9E))
    fine = outline(random, 2 * _SIDE)
    alpha = cv2.resize(fine * 255, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    colors = texture(random, (_SIDE, _SIDE), random_palette(random, 3))
    lit = _shade_body(random, colors, (alpha >= 128).astype(np.uint8))
    return ObjectCrop(np.dstack([lit, alpha]), class_id, f'shape {seed}')


def outline(random: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """(side, side) uint8, 0 or 1: a connected shape of one to three parts that fills the square up to a margin."""
    mask = np.zeros((side, side), np.uint8)
    parts = int(random.choice(3, p=(0.6, 0.25, 0.15))) + 1
    center = np.zeros(2)
    for part in range(parts):
        radius = 1.0 if part == 0 else float(random.uniform(0.4, 0.8))
        points = _part(random) * radius + center
        grid = np.rint((points * side / 8 + side / 2) * 16).astype(np.int32)
        cv2.fillPoly(mask, [grid], 1, shift=4)
        angle = random.uniform(0, 2 * np.pi)
        center = center + radius * 0.9 * np.array([np.cos(angle), np.sin(angle)])
    return _fill_square(_largest(mask))


def _part(random: np.random.Generator) -> NDArray[np.float64]:
    """(K, 2) closed outline of about unit radius: a superellipse, blob, polygon, star or gear."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    kind = int(random.integers(5))
    if kind == 0:
        power = 2 / float(random.uniform(0.9, 6))
        points = np.stack([_signed_power(np.cos(angle), power), _signed_power(np.sin(angle), power)], 1)
    elif kind == 1:
        waves = sum(random.normal(0, 0.45 / k) * np.sin(k * angle + random.uniform(0, 6.3)) for k in range(2, 7))
        points = (np.exp(0.7 * np.clip(waves, -1, 1)) * np.stack([np.cos(angle), np.sin(angle)])).T
    elif kind == 2:
        count = int(random.integers(3, 8))
        corners = (np.arange(count) + random.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
        points = np.stack([np.cos(corners), np.sin(corners)], 1) * random.uniform(0.75, 1.1, (count, 1))
    else:
        teeth, depth = int(random.integers(4, 10)), float(random.uniform(0.1, 0.45))
        steep = 1.0 if kind == 3 else 4.0
        radius = 1 - depth * (0.5 + 0.5 * np.tanh(steep * np.sin(teeth * angle)) / np.tanh(steep))
        points = (radius * np.stack([np.cos(angle), np.sin(angle)])).T
    turn, aspect = random.uniform(0, 2 * np.pi), np.exp(random.uniform(-0.5, 0.5))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points * (aspect**0.5, aspect**-0.5) @ rotation


def _signed_power(values: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    return np.sign(values) * np.abs(values) ** power


def _largest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    return (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)


def _fill_square(mask: NDArray[np.uint8], margin: float = 0.045) -> NDArray[np.uint8]:
    """Scale the shape to fill the square up to a margin, and round its corners."""
    side = mask.shape[0]
    x, y, width, height = cv2.boundingRect(mask)
    scale = side * (1 - 2 * margin) / max(width, height)
    matrix = np.array([[scale, 0, side / 2 - scale * (x + width / 2)], [0, scale, side / 2 - scale * (y + height / 2)]])
    large = cv2.warpAffine(mask * 255, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return (cv2.GaussianBlur(large, (0, 0), side / 90) >= 128).astype(np.uint8)


def random_palette(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """(count, 3) float32 BGR: colors of different brightness, some of low saturation."""
    hue = (random.uniform(0, 180) + random.choice((0, 15, 60, 90)) * np.arange(count)) % 180
    saturation = np.clip(random.normal(120, 70) + random.normal(0, 40, count), 0, 255)
    dark, bright = np.sort(random.uniform(40, 245, 2)).tolist()
    value = random.permutation(np.linspace(dark, bright, count) + random.normal(0, 15, count))
    hsv = np.stack([hue, saturation, np.clip(value, 25, 250)], 1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0].astype(np.float32)


def texture(random: np.random.Generator, size: tuple[int, int], palette: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: stripes, checks, dots, patches, marble or a gradient in the colors of a palette, with grain."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(size)
    turn = random.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    warp = random.uniform(0, 0.12) * smooth_noise(random, size, 4)
    count = random.uniform(3, 14)
    kind = int(random.integers(6))
    if kind == 0:
        pattern = np.sin(2 * np.pi * count * (along + warp))
    elif kind == 1:
        pattern = 2 * np.sin(4 * count * (along + warp)) * np.sin(4 * count * (across + warp))
    elif kind == 2:
        u, v = (along + warp) * count % 1 - 0.5, (across + warp) * count % 1 - 0.5
        pattern = (random.uniform(0.25, 0.4) - np.hypot(u, v)) * 6
    elif kind == 3:
        pattern = 2.5 * smooth_noise(random, size, int(random.integers(3, 9)))
    elif kind == 4:
        pattern = np.sin(12 * smooth_noise(random, size, 5) + 8 * along)
    else:
        pattern = 3 * along - 1.5 + warp
    share = 1 / (1 + np.exp(-pattern * random.choice((1.5, 6.0, 20.0))))[..., None]
    image = palette[0] * share + palette[1] * (1 - share)
    accent = smooth_noise(random, size, 6) > random.uniform(0.35, 1.0)
    image = np.where(accent[..., None], palette[2], image)
    grain = smooth_noise(random, size, 40) * random.uniform(2, 14) + random.normal(0, random.uniform(0, 5), size)
    return np.clip(image + grain[..., None], 0, 255).astype(np.uint8)


def smooth_noise(random: np.random.Generator, size: tuple[int, int], cells: int) -> Field:
    """(H, W) float32 noise of about unit deviation, in three octaves, the coarsest with `cells` on the longest side."""
    total = np.zeros(size, np.float32)
    for octave in range(3):
        count = cells * 2**octave
        rows = max(2, round(count * size[0] / max(size)) + 1)
        columns = max(2, round(count * size[1] / max(size)) + 1)
        grid = random.normal(0, 1, (rows, columns)).astype(np.float32)
        total += cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total / 1.1


def _shade_body(random: np.random.Generator, colors: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shade a body that is rounded towards its outline, lit from one side, with a highlight."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    roundness = float(random.uniform(0.25, 1.0)) * float(depth.max())
    height = np.sqrt(np.clip(1 - (1 - np.minimum(depth / max(roundness, 1), 1)) ** 2, 0, 1)) * roundness
    height = cv2.GaussianBlur(height, (0, 0), 2.5) + random.uniform(0, 1.5) * smooth_noise(random, mask.shape, 10)
    slope_y, slope_x = np.gradient(height)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    angle = random.uniform(-2.6, -0.5)
    light = np.array([0.6 * np.cos(angle), 0.6 * np.sin(angle), 0.8])
    facing = np.clip(normal @ light, 0, 1)
    ambient = random.uniform(0.35, 0.6)
    shine = random.uniform(0, 110) * facing ** random.uniform(15, 60)
    lit = colors * (ambient + (1.15 - ambient) * facing)[..., None] + shine[..., None]
    return np.clip(lit, 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class TexturedImages:
    """`count` textured backgrounds without objects, as labeled images.

    size: (height, width) in pixels.
    first: seed of the first image.
    """

    count: int = 48
    size: tuple[int, int] = (432, 768)
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def frame(self, index: int) -> LabeledFrame:
        """Background number `index`: a floor and a wall, or one surface, with patches of light."""
        nothing = np.zeros(0, np.int32)
        return LabeledFrame(
            image=draw_place(self.first + index, self.size),
            object_ids=nothing,
            class_ids=nothing,
            masks=np.zeros((0, *self.size), bool),
            pasted=np.zeros(0, bool),
        )


def draw_place(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR: a background of surfaces with less contrast than the objects."""
    random = np.random.default_rng((seed, 0xF100))
    image = draw_surface(random, size)
    if random.random() < 0.7:
        image = _with_floor(random, image)
    light = 1 + 0.18 * smooth_noise(random, size, 2) + 0.05 * smooth_noise(random, size, 6)
    image = image * np.clip(light, 0.5, 1.5)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_surface(random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 3) float32 BGR: a texture in similar colors."""
    palette = random_palette(random, 3)
    middle = palette.mean(0)
    calm = middle + (palette - middle) * random.uniform(0.15, 0.5)
    gray = calm.mean(1, keepdims=True)
    dull = gray + (calm - gray) * random.uniform(0.3, 0.8)
    return texture(random, size, dull.astype(np.float32)).astype(np.float32)


def _with_floor(random: np.random.Generator, wall: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw a floor in perspective below a wall."""
    height, width = wall.shape[:2]
    horizon = int(random.uniform(0.3, 0.65) * height)
    floor = draw_surface(random, (height, width))
    spread = float(random.uniform(0.3, 1.0)) * width
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = np.array([[0, horizon], [width, horizon], [width + spread, height], [-spread, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    laid = cv2.warpPerspective(floor, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    out = wall.copy()
    out[horizon:] = laid[horizon:]
    edge = slice(max(horizon - 2, 0), horizon + 3)
    out[edge] *= 0.6
    return out
