"""ObjectTracker: tracks the box of one object with OTN, which is trained on the first frame and during tracking."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from vis_ros.propagation.blocks.box_crops import clip_to
from vis_ros.propagation.pts.otn import OtnClassifier


@dataclass(frozen=True)
class TrackingSettings:
    """Amount of samples and learning rates. The rates are those of fc4 and fc5; fc6 has ten times the rate."""

    first_positives: int = 100
    first_negatives: int = 400
    first_steps: int = 30
    first_rate: float = 1e-3
    positives: int = 20
    negatives: int = 40
    """Positive and negative samples of each frame in which the object was found."""
    rate: float = 1e-3
    mined: int = 256
    """Negatives of a step among which the hardest are selected."""
    candidates: int = 64
    """Number of jittered boxes that are added if fewer than five proposals are near the last box."""
    long_term_steps: int = 15


PUBLISHED = TrackingSettings(500, 5000, 30, 1e-4, 50, 200, 2e-4, 1024, 5, 15)
"""Published settings, for layers that are trained in advance; the rates are too low for untrained ones."""

_POSITIVE_IOU, _NEGATIVE_IOU = 0.7, 0.3
_NEAR, _NEAR_AFTER_FAILURE = 0.5, 0.2
"""Smallest IoU of a proposal with the last box (published: 0.3 and 0.2). Here the mask refines the last box, and
proposals farther away are often parts of the object."""
_BEST = 5
_BATCH_POSITIVES, _BATCH_NEGATIVES = 32, 96
_POSITIVE_MEMORY, _NEGATIVE_MEMORY = 100, 20
_SHORT_TERM_FRAMES, _SHORT_TERM_STEPS = 5, 10
_LONG_TERM_FRAMES, _LONG_TERM_INTERVAL = 20, 10
_MOMENTUM, _WEIGHT_DECAY, _LARGEST_GRADIENT, _LAST_LAYER = 0.9, 5e-4, 10.0, 10.0
_NEAR_JITTER, _SEARCH_JITTER, _WIDE_JITTER = (0.1, 1.1), (0.6, 1.1), (2.0, 1.5)
"""(shift in mean sides, factor of the sides): bounds that are also two standard deviations."""


@dataclass(frozen=True)
class OtnFrame:
    """A frame as OTN sees it.

    size: (height, width) in pixels.
    proposals: boxes (P, 4).
    features: function from boxes (N, 4) to features (N, F).
    """

    size: tuple[int, int]
    proposals: Tensor
    features: Callable[[Tensor], Tensor]


class ObjectTracker:
    """Tracks the box of one object (PTS, Zhou et al. 2019, section 3.2; MDNet, Nam and Han 2016, sections 3.2 and 4).

    Keeps positive samples of the last 100 frames and negative samples of the last 20. The random numbers are the same
    in every run.

    Args:
        start: initial weights; they are copied.
        box: (4,) of the object in the first frame.
        frame: the first frame.
        settings: None for the defaults.

    box: (4,) where the object was found last.
    score: mean log odds of the five best boxes in the last frame.
    """

    def __init__(
        self, start: OtnClassifier, box: Tensor, frame: OtnFrame, settings: TrackingSettings | None = None
    ) -> None:
        self.box, self.score = box.clone(), 0.0
        self._settings = settings = settings or TrackingSettings()
        self._random = torch.Generator().manual_seed(0)
        self._positives: deque[Tensor] = deque(maxlen=_POSITIVE_MEMORY)
        self._negatives: deque[Tensor] = deque(maxlen=_NEGATIVE_MEMORY)
        self._frames = 0
        with torch.inference_mode(False):
            self._classifier = copy.deepcopy(start).requires_grad_(True)
        last = [*self._classifier.fc6.parameters()]
        others = [*self._classifier.fc4.parameters(), *self._classifier.fc5.parameters()]
        self._optimizer = torch.optim.SGD(
            [{'params': others}, {'params': last}], lr=1.0, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
        )
        positives, negatives = self._samples(frame, settings.first_positives, settings.first_negatives)
        self._learn(positives, negatives, settings.first_steps, settings.first_rate)
        self._positives.append(positives[: settings.positives])
        self._negatives.append(negatives[: settings.negatives])

    def find(self, frame: OtnFrame) -> bool:
        """Find the object in the next frame. Returns False if it was not found; `box` then stays."""
        self._frames += 1
        box, self.score = self._find(frame)
        if self.score > 0:
            self.box = box
        return self.score > 0

    def refine(self, box: Tensor) -> None:
        """Take the box (4,) of the mask in the last frame, if the object was found and both boxes overlap enough."""
        if self.score > 0 and box_iou(self.box[None], box[None]).item() > _NEAR:
            self.box = box.clone()

    def learn(self, frame: OtnFrame) -> None:
        """Take samples of the frame of the last `find`. Train every tenth frame, or at once if the object is lost."""
        if self.score <= 0:
            self._update(_SHORT_TERM_FRAMES, _SHORT_TERM_STEPS)
            return
        positives, negatives = self._samples(frame, self._settings.positives, self._settings.negatives)
        self._positives.append(positives)
        self._negatives.append(negatives)
        if self._frames % _LONG_TERM_INTERVAL == 0:
            self._update(_LONG_TERM_FRAMES, self._settings.long_term_steps)

    def move(self, box: Tensor) -> None:
        """Set the box (4,) of the object in the last frame."""
        self.box, self.score = box.clone(), 1.0

    @torch.no_grad()
    def scores(self, features: Tensor) -> Tensor:
        """Log odds (N,) that boxes with features (N, F) show the object."""
        logits = self._classifier.eval()(features)
        return logits[:, 1] - logits[:, 0]

    # ------------------------------------------------------------------------------------------------------------

    def _find(self, frame: OtnFrame) -> tuple[Tensor, float]:
        """The mean of the five best boxes near the last box, and their mean score."""
        near = _NEAR if self.score >= 0 else _NEAR_AFTER_FAILURE
        boxes = frame.proposals
        boxes = boxes[box_iou(self.box[None], boxes)[0] > near]
        if len(boxes) < _BEST:
            half = self._settings.candidates // 2
            far = self._jitter(self.box[None], self._settings.candidates - half, _SEARCH_JITTER)
            close = self._jitter(self.box[None], half, _NEAR_JITTER)
            boxes = clip_to(torch.cat((boxes, self.box[None], far, close)), frame.size)
        best, order = self.scores(frame.features(boxes)).topk(_BEST)
        return boxes[order].mean(0), float(best.mean())

    def _samples(self, frame: OtnFrame, positives: int, negatives: int) -> tuple[Tensor, Tensor]:
        """Features (N, F) of boxes on the object, at `box`, and of boxes elsewhere, up to the given numbers."""
        overlap = box_iou(self.box[None], frame.proposals)[0]
        sure = torch.cat((self.box[None], frame.proposals[overlap >= _POSITIVE_IOU]))
        on = clip_to(torch.cat((sure, self._jitter(sure, 2 * positives, _NEAR_JITTER))), frame.size)
        on = on[box_iou(self.box[None], on)[0] >= _POSITIVE_IOU][:positives]
        wide = clip_to(self._jitter(self.box[None], 2 * negatives, _WIDE_JITTER), frame.size)
        off = torch.cat((frame.proposals[overlap <= _NEGATIVE_IOU], wide, self._anywhere(negatives, frame.size)))
        off = off[box_iou(self.box[None], off)[0] <= _NEGATIVE_IOU]
        off = off[torch.randperm(len(off), generator=self._random)[:negatives]]
        features = frame.features(torch.cat((on, off)))
        return features[: len(on)], features[len(on) :]

    def _jitter(self, boxes: Tensor, count: int, jitter: tuple[float, float]) -> Tensor:
        """(count, 4): boxes (N, 4), repeated, with Gaussian noise on position and size."""
        shift, scale = jitter
        boxes = boxes[torch.arange(count, device=boxes.device) % len(boxes)]
        noise = (torch.randn(count, 3, generator=self._random) / 2).clamp(-1, 1).to(boxes.device)
        sides = boxes[:, 2:] - boxes[:, :2]
        center = (boxes[:, 2:] + boxes[:, :2]) / 2 + noise[:, :2] * shift * sides.mean(1, keepdim=True)
        half = sides * scale ** noise[:, 2:] / 2
        return torch.cat((center - half, center + half), 1)

    def _anywhere(self, count: int, size: tuple[int, int]) -> Tensor:
        """(count, 4): boxes of the size of the object at random positions."""
        extent = self.box.new_tensor([size[1], size[0]])
        sides = torch.minimum(self.box[2:] - self.box[:2], extent)
        low = torch.rand(count, 2, generator=self._random).to(self.box.device) * (extent - sides)
        return torch.cat((low, low + sides), 1)

    def _update(self, frames: int, steps: int) -> None:
        positives = torch.cat([*self._positives][-frames:])
        self._learn(positives, torch.cat([*self._negatives]), steps, self._settings.rate)

    def _learn(self, positives: Tensor, negatives: Tensor, steps: int, rate: float) -> None:
        """Train with the cross entropy of positives and of the hardest negatives."""
        if len(negatives) == 0:  # the object fills the frame
            return
        others, last = self._optimizer.param_groups
        others['lr'], last['lr'] = rate, rate * _LAST_LAYER
        # Tensors made in inference mode cannot be trained on; a fixed seed makes the dropout repeatable.
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
            torch.manual_seed(self._frames)
            positives, negatives = positives.clone(), negatives.clone()
            on = self._batches(len(positives), _BATCH_POSITIVES, steps)
            off = self._batches(len(negatives), self._settings.mined, steps)
            for positive, mined in zip(on, off, strict=True):
                hard = negatives[mined]
                hard = hard[self.scores(hard).topk(min(_BATCH_NEGATIVES, len(hard))).indices]
                logits = self._classifier.train()(torch.cat((positives[positive], hard)))
                count = len(positive)
                wanted = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
                wanted[:count] = 1
                loss = functional.cross_entropy(logits[:count], wanted[:count]) + functional.cross_entropy(
                    logits[count:], wanted[count:]
                )
                self._optimizer.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(self._classifier.parameters(), _LARGEST_GRADIENT)
                self._optimizer.step()

    def _batches(self, count: int, size: int, steps: int) -> list[Tensor]:
        """Indices of `steps` batches of at most `size` samples. Every sample comes once before any is repeated."""
        size = min(size, count)
        rounds = -(-size * steps // count)
        order = torch.cat([torch.randperm(count, generator=self._random) for _ in range(rounds)])
        return list(order[: size * steps].view(steps, size))
