"""StillVideos: each image of a data set as a video of random crops of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.composite_video import Background, CompositeVideo
from vis_ros.synthetic.composites import CompositeConfig, Images, random_appearance
from vis_ros.synthetic.motion import CameraMotion, Matrix, Wave


@dataclass(frozen=True)
class CropCamera:
    """A VirtualCamera that shows another window of the image at each time: random position, scale, stretch and roll.

    The windows of a video are similar to each other.

    source_size: (height, width) of the image.
    size: (height, width) of the frames.
    seed: of the windows.
    window: smallest and largest size of the window relative to the largest one that fits.
    mirrored: flipped left to right in all frames.
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
            center=(float(x), float(y)),
            mirrored=self.mirrored,
        ).matrix(time)

    def shake_matrix(self, time: float) -> Matrix:
        """The identity: there are no pasted objects."""
        return np.eye(3)


class StillVideos:
    """Images as videos: each frame is another crop in another light, with the same object ids.

    Args:
        images: labeled images.
        size: (height, width) of the frames.
        config: its length, light, noise, blur, compression and visibility are used; None for the defaults.
        cached_images: number of images kept in memory.

    Raises:
        ValueError: there is no image.
    """

    def __init__(
        self,
        images: Images,
        size: tuple[int, int],
        config: CompositeConfig | None = None,
        cached_images: int = 128,
    ) -> None:
        if not len(images):
            raise ValueError('videos of still images need at least one image')
        self.images, self.size = images, size
        self.config = replace(config or CompositeConfig(), motion_blur=0.0)
        self._backgrounds: BoundedCache[Background] = BoundedCache(cached_images)

    def video(self, seed: int) -> CompositeVideo:
        """Video number `seed`, any integer from 0."""
        random = np.random.default_rng((int(seed), 0x571))
        index = int(random.integers(len(self.images)))
        shortest = round(1.7 * self.size[0])
        background = self._backgrounds.get(index, lambda: Background.of_frame(self.images.frame(index), shortest))
        source_size = background.owner.shape[0], background.owner.shape[1]
        camera = CropCamera(source_size, self.size, int(seed), mirrored=bool(random.random() < 0.5))
        appearance = random_appearance(random, self.config)
        length, visibility = self.config.length, self.config.visibility
        return CompositeVideo(self.size, background, camera, (), appearance, int(seed), length, visibility)
