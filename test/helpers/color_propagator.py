"""A Propagator without a network: an object is the pixels that have its color."""

import numpy as np

BLUE, GREEN, RED = (250, 20, 20), (20, 250, 20), (20, 20, 250)


def draw(*rectangles, height=96, width=160):
    """(height, width, 3) uint8 BGR, gray, with rectangles (x0, y0, x1, y1, color), x1 and y1 exclusive."""
    image = np.full((height, width, 3), 128, np.uint8)
    for x0, y0, x1, y1, color in rectangles:
        image[y0:y1, x0:x1] = color
    return image


def mask_of(image, color):
    """(H, W) bool, the pixels of a color."""
    return np.abs(image.astype(int) - np.array(color)).max(2) < 60


class ColorPropagator:
    """finds_lost: whether an object whose mask was emptied by `correct` is looked for by its color."""

    input_size = (96, 160)
    state = {'colors': 'of a test'}  # noqa: RUF012

    def __init__(self, finds_lost=True):
        self._finds_lost = finds_lost
        self._colors, self._blind = {}, set()

    @property
    def object_ids(self):
        return tuple(sorted(self._colors))

    def start(self, object_id, image, mask):
        if mask.shape != image.shape[:2] or not mask.any():
            raise ValueError('no such mask')
        self._colors[object_id] = np.median(image[mask], axis=0)
        self._blind.discard(object_id)

    def step(self, image, after=None):
        planes = [mask_of(image, self._colors[n]) & (n not in self._blind) for n in self.object_ids]
        objects = np.array(planes, np.float32).reshape(-1, *image.shape[:2]) * np.float32(0.9)
        return np.concatenate((np.full((1, *image.shape[:2]), 0.5, np.float32), objects))

    def correct(self, object_id, mask):
        if mask.any():
            self._blind.discard(object_id)
        elif not self._finds_lost:
            self._blind.add(object_id)

    def forget(self, object_id):
        del self._colors[object_id]
        self._blind.discard(object_id)

    def reset(self):
        self._colors.clear()
        self._blind.clear()


class ColorPropagators:
    """Stands in for a loaded network."""

    weights, engine, device = 'colors', 'numpy', 'cpu (1 threads)'

    def __init__(self, model, weights, **_settings):
        self.model = model

    def new(self):
        return ColorPropagator()
