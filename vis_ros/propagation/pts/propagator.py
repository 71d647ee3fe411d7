"""PtsPropagator: mask propagation with PTS."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.networks.model_file import load_model
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.blocks.box_crops import clip_to, crop, crop_transform, enlarge_boxes, mask_boxes, paste
from vis_ros.propagation.blocks.mask_heat_map import mask_heat_map
from vis_ros.propagation.blocks.network_input import NetworkInput
from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.pts.background_tuning import BackgroundTuning
from vis_ros.propagation.pts.network import Pts
from vis_ros.propagation.pts.object_tracking import PUBLISHED, ObjectTracker, OtnFrame, TrackingSettings
from vis_ros.propagation.pts.proposals import Proposals, rpn_proposals
from vis_ros.propagation.pts.rgsn import Rgsn
from vis_ros.propagation.pts.rgsn_fine_tuning import fine_tuned
from vis_ros.propagation.torch_parts import TorchParts

_CONTEXT = 1.5
_WHOLE_FRAME = 0.6
"""An object whose box covers more than this share of the frame is segmented in the whole frame."""
_MIN_AREA = 50
"""Smallest mask in pixels for tracking; the box of a smaller object stays where it is."""
_BACKGROUND = 0.5


@dataclass
class _PtsObject:
    """The state of one object.

    rgsn: the network, fine-tuned for this object or shared by all.
    reference: features (C, s, s) of the reference crop.
    previous: mask (h, w) bool in the last image.
    box: (4,) in the last image.
    tracker: None if the object is too small to be tracked.
    tuning: the fine-tuning that may still run.
    """

    rgsn: Rgsn
    reference: Tensor
    previous: Tensor
    box: Tensor
    tracker: ObjectTracker | None
    tuning: BackgroundTuning | None = None

    def take_tuned(self) -> float | None:
        """Use the tuned network from now on if it became ready; returns the seconds that it took."""
        if self.tuning is None or self.tuning.network is None:
            return None
        seconds = self.tuning.seconds
        self.rgsn, self.tuning = self.tuning.network, None
        return seconds


class PtsPropagator:
    """A `Propagator` that uses PTS.

    Its state for each object: the features of its reference crop, its previous mask, the weights of OTN, and the box
    features of up to 100 frames that OTN trains on.

    OTN finds the box; RGSN segments the object in a crop of 1.5 times the box. A pixel belongs to the most probable
    object if its probability exceeds 0.5. Two details are not published: if mask and box agree, OTN continues from the
    box of the mask, because boxes set by OTN alone drift; and the previous mask is a heat map as in training, where the
    released code uses the mask itself. The features for OTN are computed once per frame for all objects.

    Args:
        parts: of the network, in torch: OTN is trained while it tracks.
        proposals: region proposals, such as `rpn_proposals`. With None, OTN tries random boxes around the last one.
        fine_tune_steps: steps of fine-tuning of RGSN for each object, once after `start` (published: 800).
        in_background: fine-tune in a thread, while the object is tracked with the untuned weights. Otherwise `start`
            waits for it, and results are the same in every run.
    """

    def __init__(
        self,
        parts: NetworkParts,
        proposals: Proposals | None = None,
        fine_tune_steps: int = 0,
        in_background: bool = False,
    ) -> None:
        if not isinstance(parts, TorchParts):
            raise ValueError('pts trains its tracker while it runs, which needs the engine torch')
        network = cast(Pts, parts.network)
        self._network, self._device = network, parts.device
        self._proposals = proposals
        self._fine_tune_steps, self._in_background = fine_tune_steps, in_background
        self._input = NetworkInput(network.config, parts.device)
        self._tracking = PUBLISHED if network.config.otn_features == 'vgg_m' else TrackingSettings()
        self._objects: dict[int, _PtsObject] = {}
        self._tuned_s: float | None = None
        self._size: tuple[int, int] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._network.config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._objects))

    @property
    def state(self) -> Mapping[str, object]:
        """How many objects are being fine-tuned, and how long the last one took."""
        if not self._fine_tune_steps:
            return {}
        running = sum(each.tuning is not None and each.tuning.is_running for each in list(self._objects.values()))
        took = 'none yet' if self._tuned_s is None else f'{self._tuned_s:.1f}'
        return {'objects being fine-tuned': running, 'last fine-tuning [s]': took}

    @torch.inference_mode()
    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        size = check_start(object_id, image, mask, self._size)
        pixels, plane = self._input.image(image), self._input.mask(mask)
        box = mask_boxes(plane[None])[0]
        rgsn, tuning = self._network.rgsn, None
        if object_id in self._objects:
            self.forget(object_id)
        if self._fine_tune_steps:
            arguments = rgsn, pixels, plane, self._side, self._fine_tune_steps
            if self._in_background:
                tuning = BackgroundTuning(object_id, lambda is_cancelled: fine_tuned(*arguments, is_cancelled))
            else:
                started = time.monotonic()
                rgsn = fine_tuned(*arguments)
                self._tuned_s = time.monotonic() - started
        transform = crop_transform(_regions(box[None], size), size)
        masks = crop(plane[None, None].float(), transform, self._side) >= 0.5
        reference = rgsn.reference(crop(pixels, transform, self._side), masks.float())[0]
        large = plane.sum() > _MIN_AREA
        tracker = (
            ObjectTracker(self._network.otn.classifier, box, self._otn_frame(image, pixels), self._tracking)
            if large
            else None
        )
        self._objects[object_id] = _PtsObject(rgsn, reference, plane, box, tracker, tuning)
        self._size = size

    @torch.inference_mode()
    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        size = check_size(image.shape[:2], self._size)
        objects = [self._objects[number] for number in self.object_ids]
        if not objects:
            return np.ones((1, *size), np.float32)
        pixels = self._input.image(image)
        frame = self._otn_frame(image, pixels)
        for each in objects:
            self._tuned_s = each.take_tuned() or self._tuned_s
            if each.tracker and each.tracker.find(frame):
                each.box = each.tracker.box
        found = self._segment(objects, pixels, size)
        planes = torch.cat((torch.full_like(found[:1], _BACKGROUND), found))
        winner = planes.argmax(0)
        for index, each in enumerate(objects):
            each.previous = winner == index + 1
            self._learn(each, frame)
        return planes.cpu().numpy()

    @torch.inference_mode()
    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        check_size(mask.shape, self._size)
        each = self._objects[object_id]
        each.previous = self._input.mask(mask)
        if mask.any():
            each.box = mask_boxes(each.previous[None])[0]
            if each.tracker:
                each.tracker.move(each.box)

    def forget(self, object_id: int) -> None:
        tuning = self._objects.pop(object_id).tuning
        if tuning is not None:
            tuning.cancel()

    def reset(self) -> None:
        for object_id in self.object_ids:
            self.forget(object_id)
        self._size = None

    # ------------------------------------------------------------------------------------------------------------

    @property
    def _side(self) -> int:
        return self._network.config.crop_size

    @staticmethod
    def _learn(each: _PtsObject, frame: OtnFrame) -> None:
        if each.tracker is None:
            return
        if each.previous.any():
            each.tracker.refine(mask_boxes(each.previous[None])[0])
        each.tracker.learn(frame)

    def _segment(self, objects: list[_PtsObject], pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Probabilities (M, h, w) of the objects, 0 outside their crops."""
        regions = _regions(torch.stack([each.box for each in objects]), size)
        transform = crop_transform(regions, size)
        crops = crop(pixels.expand(len(objects), -1, -1, -1), transform, self._side)
        previous = torch.stack([each.previous for each in objects])[:, None].float()
        heat_maps = mask_heat_map(crop(previous, transform, self._side)[:, 0] >= 0.5)[:, None]
        references = torch.stack([each.reference for each in objects])
        if self._fine_tune_steps:
            logits = torch.cat(
                [
                    each.rgsn(crops[i : i + 1], heat_maps[i : i + 1], references[i : i + 1])
                    for i, each in enumerate(objects)
                ]
            )
        else:
            logits = self._network.rgsn(crops, heat_maps, references)
        return paste(logits.softmax(1)[:, 1], regions, size)

    def _otn_frame(self, image: NDArray[np.uint8], pixels: Tensor) -> OtnFrame:
        frame = self._network.frame(pixels)
        boxes = np.zeros((0, 4), np.float32) if self._proposals is None else self._proposals(image)
        proposals = torch.from_numpy(boxes).to(self._device)
        return OtnFrame(
            (image.shape[0], image.shape[1]), proposals, lambda boxes: self._network.otn.box_features(frame, boxes)
        )


def _regions(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The crop regions of boxes (M, 4): 1.5 times the box, clipped to the frame; the whole frame for large boxes."""
    height, width = size
    share = (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True) / (height * width)
    whole = boxes.new_tensor([0, 0, width, height])
    return torch.where(share > _WHOLE_FRAME, whole, clip_to(enlarge_boxes(boxes, _CONTEXT), size))


def pts_options(device: torch.device, detector: str, fine_tune_steps: int, in_background: bool) -> dict[str, Any]:
    """The additional arguments of PtsPropagator, with region proposals by the RPN of a detector, by name or path."""
    network = load_model(resolve(detector), 'mask_rcnn').to(device)
    return {
        'proposals': rpn_proposals(network, device),
        'fine_tune_steps': fine_tune_steps,
        'in_background': in_background,
    }
