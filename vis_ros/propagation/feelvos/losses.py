"""FeelvosLosses: bootstrapped cross entropy of all objects of a frame at full resolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.bootstrapped_loss import bootstrapped_cross_entropy
from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.propagation.blocks.mask_damage import damage_binary_masks
from vis_ros.propagation.feelvos.network import Feelvos, enlarge

_SAMPLES = 1024
"""Maximum number of pixels of an object in the reference frame that are matched (section 3.6)."""
_HARDEST = 0.15
"""Share of the pixels that count in the second half of the run."""


@dataclass(frozen=True)
class _Clip:
    """One clip.

    features: (T, C, H / 4, W / 4).
    embeddings: (T, E, h, w).
    truth: (T, K, H, W) bool, the background first, then the objects of the reference frame.
    known: (T, H, W) bool.
    """

    features: Tensor
    embeddings: Tensor
    truth: Tensor
    known: Tensor


class FeelvosLosses(nn.Module):
    """The network with its losses as one module.

    Frame 1 uses frame 2 as its previous frame, backwards in time, because the frame before it is not in the clip; all
    others use the frame before. The previous masks are the ground truth, as published, but damaged, or the network's
    own predictions, as at inference; the share of predictions grows during the run.
    """

    def __init__(self, network: Feelvos) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """The loss 'mask', a mean over frames and clips; zero if no clip has an object in frame 0.

        Args:
            images: (B, T, 3, H, W), normalized RGB.
            labels: (B, T, H, W) int64: 0 background, else objects, UNKNOWN. Frame 0 is the reference frame.
            progress: of the run, from 0 to 1.
        """
        features, embeddings = self.network.encode(images.flatten(0, 1))
        losses = []
        for clip in range(len(labels)):
            frames = slice(clip * labels.shape[1], (clip + 1) * labels.shape[1])
            truth = object_masks(labels[clip])
            if truth.shape[1] > 1:
                known = labels[clip] != UNKNOWN
                losses += self._clip_losses(_Clip(features[frames], embeddings[frames], truth, known), progress)
        return {'mask': torch.stack(losses).mean() if losses else embeddings.sum() * 0 + self._nothing()}

    def _clip_losses(self, clip: _Clip, progress: float) -> list[Tensor]:
        references = self._references(clip.embeddings[0], clip.truth[0])
        share = hardest_share(progress)
        losses = []
        predicted = None
        for time, before in ((1, 2), *((time, time - 1) for time in range(2, len(clip.truth)))):
            own = predicted is not None and torch.rand(()) < 2 * progress
            masks = predicted if own and predicted is not None else _damaged(clip.truth[before])
            query = clip.embeddings[time]
            logits = enlarge(
                self.network.segment(
                    clip.features[time],
                    self.network.global_maps(query, references),
                    self.network.local_maps(query, clip.embeddings[before], masks),
                    masks,
                )
            )
            losses.append(bootstrapped_cross_entropy(logits, clip.truth[time], clip.known[time], share))
            winners = logits.detach().max(0).indices  # faster than argmax
            predicted = winners == torch.arange(len(logits), device=logits.device)[:, None, None]
        return losses

    def _references(self, embedding: Tensor, masks: Tensor) -> list[Tensor]:
        """Embeddings (N, E) of the pixels of each object, a random sample if there are too many."""
        references = []
        for mask in self.network.cells(masks):
            pixels = embedding[:, mask].T
            if len(pixels) > _SAMPLES:
                pixels = pixels[torch.randperm(len(pixels), device=pixels.device)[:_SAMPLES]]
            references.append(pixels)
        return references

    def _nothing(self) -> Tensor:
        return sum((parameter.sum() for parameter in self.network.head.parameters()), torch.zeros(())) * 0


def object_masks(labels: Tensor) -> Tensor:
    """Masks (T, K, H, W) bool of labels (T, H, W): the background, then each object of frame 0.

    Objects that are not in frame 0 are background in the others (section 3.6). UNKNOWN pixels are in no mask.
    """
    objects = torch.unique(labels[0])
    objects = objects[(objects > 0) & (objects != UNKNOWN)]
    masks = labels[:, None] == objects[:, None, None]
    background = ~masks.any(1, keepdim=True) & (labels != UNKNOWN)[:, None]
    return torch.cat((background, masks), 1)


def hardest_share(progress: float) -> float:
    """Share of the pixels that count: falls linearly from all to 15 % over the first half of the run."""
    return 1 - (1 - _HARDEST) * min(2 * progress, 1.0)


def _damaged(masks: Tensor) -> Tensor:
    """Masks (K, H, W) bool, the background first, with damaged objects. UNKNOWN pixels stay in no mask."""
    objects = damage_binary_masks(masks[1:])
    taken = objects.int().cumsum(0) <= 1  # of overlapping objects the first one keeps the pixel
    known = masks.any(0)
    objects = objects & taken & known
    return torch.cat(((known & ~objects.any(0))[None], objects))
