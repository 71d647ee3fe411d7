"""A stand-in for MaskRNN in its published form, which notes what its steps are given."""

import numpy as np

from helpers.color_propagator import RED, ColorPropagator, ColorPropagators, mask_of


def left_of(image):
    """Left end of the red object; None without an image."""
    return None if image is None else int(np.flatnonzero(mask_of(image, RED).any(0))[0])


class DelayedPropagators(ColorPropagators):
    """seen: (left end of the red object in the image, in the next image) of every step of every camera."""

    def __init__(self, model, weights, *, delayed, **settings):
        super().__init__(model, weights, **settings)
        assert model == 'maskrnn' and delayed
        self.seen = []

    def new(self):
        seen = self.seen

        class Noting(ColorPropagator):
            def step(self, image, after=None):
                seen.append((left_of(image), left_of(after)))
                return super().step(image)

        return Noting()
