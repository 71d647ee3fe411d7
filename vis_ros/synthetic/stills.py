"""StillVideos: every image of a data set as a video of crops of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.composite_video import Background, CompositeVideo
from vis_ros.synthetic.composites import CompositeConfig, Images, random_look
from vis_ros.synthetic.motion import CameraMotion, Matrix, Wave


@dataclass(frozen=True)
class CropCamera:
    """A new window over the image at each time, all of them near one another: crop, scale, stretch and tilt.

    source_size, size: (height, width) of the image and of the frames; window: smallest and largest share of the largest
    window that fits; mirrored: left to right, at all times.
    """

    source_size: tuple[int, int]
    size: tuple[int, int]
    seed: int
    window: tuple[float, float] = (0.45, 1.0)
    mirrored: bool = False

    def matrix(self, time: float) -> Matrix:
        """(3, 3) float64, from pixels of the image to pixels of the frame."""
        common, own = np.random.default_rng(self.seed), np.random.default_rng((self.seed, int(time) + 2**20))
        low, high = np.log(self.window)
        window = np.clip(common.uniform(low, high) + own.uniform(-0.25, 0.25), low, high)
        x, y = common.uniform(-1.2, 1.2, 2) + own.uniform(-0.3, 0.3, 2)
        return CameraMotion(
            source_size=self.source_size,
            size=self.size,
            waves=(Wave(), Wave(), Wave(), Wave(((1.0, 4.0, 0.25 - time / 4.0),)), Wave(), Wave()),
            window=float(np.exp(window)),
            roll=float(own.normal(0, 0.04)),
            stretch=float(np.exp(own.uniform(-0.2, 0.2))),
            centre=(float(x), float(y)),
            mirrored=self.mirrored,
        ).matrix(time)

    def shake_matrix(self, time: float) -> Matrix:
        """Nothing: there are no pasted objects."""
        return np.eye(3)


class StillVideos:
    """Images as videos whose every frame is another crop, in other light, with the same object ids.

    images: labelled images; size: (height, width) of the frames; config: length, light, noise, blur, compression and
    what counts as visible are used; cached_images: kept in memory.
    """

    def __init__(
        self,
        images: Images,
        size: tuple[int, int],
        config: CompositeConfig | None = None,
        cached_images: int = 128,
    ) -> None:
        if not len(images):
            raise ValueError('videos of stills need at least one image')
        self.images, self.size = images, size
        self.config = replace(config or CompositeConfig(), motion_blur=0.0)
        self._backgrounds: BoundedCache[Background] = BoundedCache(cached_images)

    def video(self, seed: int) -> CompositeVideo:
        """Video number `seed`, any whole number from 0."""
        random = np.random.default_rng((int(seed), 0x571))
        index = int(random.integers(len(self.images)))
        shortest = round(1.7 * self.size[0])
        background = self._backgrounds.get(index, lambda: Background.of_frame(self.images.frame(index), shortest))
        source_size = background.owner.shape[0], background.owner.shape[1]
        camera = CropCamera(source_size, self.size, int(seed), mirrored=bool(random.random() < 0.5))
        look = random_look(random, self.config)
        length, visibility = self.config.length, self.config.visibility
        return CompositeVideo(self.size, background, camera, (), look, int(seed), length, visibility)
