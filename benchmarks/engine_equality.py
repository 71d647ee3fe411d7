"""How much each engine differs from torch in fp32, on synthetic frames and clips: detections, masks, identities.

    python -m benchmarks.engine_equality OUT.json [--clips FOLDER] [--frames 20] [--weights demo] [--calibrate FOLDER]
                                         [--cpu-only]

OpenVINO is compared in each precision that this CPU supports, with --calibrate also in int8 with scales from those
images. To put the differences into perspective, OpenVINO in fp32 is also run on images with noise of one gray level.
scene_ap is the class-agnostic mask AP on the synthetic frames (pycocotools), of detections above LOWEST_SCORE.

Results of TensorRT are emulated on the CPU: fp16 by torch, which rounds the result of every operation to fp16 (5 s per
image), and int8 by onnxruntime from the graph for TensorRT. Both are compared with that graph in fp32, because it fits
images of another aspect ratio into its input, while the other engines turn their input. --cpu-only leaves TensorRT out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.detection import score
from vis_ros.engines.loading import load_engine, network_config
from vis_ros.engines.tensorrt.batch_detector import BatchDetector
from vis_ros.export.graph_export import example_inputs, export
from vis_ros.export.graph_file import CONVERGED_OUTPUT
from vis_ros.export.static_detector import StaticDetector
from vis_ros.instances import Instances
from vis_ros.masks.iou import box_iou, mask_iou
from vis_ros.networks.model_file import load_model
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import padded
from vis_ros.recordings.opening import open_recordings
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.scene import Scene
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory

SIZES = ((360, 640), (480, 640), (720, 1280), (640, 360), (333, 517))
LOWEST_SCORE, COUNTED_SCORE, MATCH_IOU = 0.25, 0.3, 0.9
TRACKED_SCORE = 0.5

OUTPUTS = ('boxes', 'scores', 'labels', 'masks', 'embeddings', CONVERGED_OUTPUT)
"""Outputs of the static network for TensorRT."""

Image = NDArray[np.uint8]
REFERENCE, GPU_REFERENCE, NOISE = 'torch fp32', 'as TensorRT, fp32', 'one gray level of noise, openvino fp32'


@dataclass
class Differences:
    """Differences of one engine from the reference, over all frames.

    detections: those of the reference with a score above COUNTED_SCORE; matched: those of them that have a detection of
    the same class with a box IoU of at least MATCH_IOU; the lists have one value per matched pair. same_numbers: frames
    with the same track ids; same_identities: frames in which each object that both track keeps the track it had before,
    with any id.
    """

    frames: int = 0
    detections: int = 0
    matched: int = 0
    same_numbers: int = 0
    same_identities: int = 0
    boxes_px: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)

    def detect(self, expected: Instances, found: Instances) -> None:
        """Compare the detections of one frame."""
        overlaps = box_iou(expected.boxes, found.boxes) * (expected.class_ids[:, None] == found.class_ids)
        self.detections += int((expected.scores > COUNTED_SCORE).sum())
        for index, row in enumerate(overlaps):
            other = int(row.argmax()) if len(row) else -1
            if expected.scores[index] <= COUNTED_SCORE or other < 0 or row[other] < MATCH_IOU:
                continue
            self.matched += 1
            self.boxes_px.append(float(np.abs(expected.boxes[index] - found.boxes[other]).max()))
            self.scores.append(float(abs(expected.scores[index] - found.scores[other])))
            masks = expected.masks[index], expected.rois[index], found.masks[other], found.rois[other]
            self.mask_ious.append(mask_iou(*masks) if masks[0].any() or masks[2].any() else 1.0)

    def track(self, expected: Instances, found: Instances, names: dict[int, int]) -> None:
        """Compare the tracks of one frame. `names` maps track ids of the reference to those of the other engine."""
        assert expected.track_ids is not None and found.track_ids is not None
        self.frames += 1
        self.same_numbers += sorted(expected.track_ids.tolist()) == sorted(found.track_ids.tolist())
        overlaps = box_iou(expected.boxes, found.boxes)
        kept = True
        for index, row in enumerate(overlaps):
            other = int(row.argmax()) if len(row) else -1
            if other >= 0 and row[other] >= 0.5 and int(overlaps[:, other].argmax()) == index:
                identity, name = int(expected.track_ids[index]), int(found.track_ids[other])
                kept &= names.setdefault(identity, name) == name
                names[identity] = name
        self.same_identities += kept

    def summary(self) -> dict[str, float]:
        """The results as JSON."""
        return {
            'frames': self.frames,
            'detections': self.detections,
            'matched': round(self.matched / max(self.detections, 1), 4),
            'box_px_median': round(float(np.median(self.boxes_px)), 5),
            'box_px_max': round(max(self.boxes_px), 5),
            'score_max': round(max(self.scores), 7),
            'mask_iou_median': round(float(np.median(self.mask_ious)), 5),
            'mask_iou_min': round(min(self.mask_ious), 5),
            'frames_with_the_same_numbers': round(self.same_numbers / self.frames, 4),
            'frames_with_the_same_identities': round(self.same_identities / self.frames, 4),
        }


class OnnxSession:
    """A graph for TensorRT run by onnxruntime, in place of a `TensorRtSession`."""

    resize = None

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry('session.disable_quant_qdq', '1')  # int8 as in the graph, without fusion
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=['CPUExecutionProvider'])
        types = {'tensor(uint8)': np.uint8, 'tensor(float)': np.float32}
        self.inputs = {each.name: np.zeros(each.shape, types[each.type]) for each in self._session.get_inputs()}
        self.outputs: dict[str, NDArray[Any]] = {}
        self.run()

    def run(self) -> None:
        self.outputs = dict(zip(OUTPUTS, self._session.run(OUTPUTS, self.inputs), strict=True))


class HalfSession:
    """The static network run by torch in fp16, in place of a `TensorRtSession`."""

    resize = None

    def __init__(self, weights: Path) -> None:
        network = load_model(weights)
        self._detector = StaticDetector(network, 'gpu', torch.float16).eval()
        canvas = padded((network.config.input_height, network.config.input_width))
        self._tensors = example_inputs(self._detector, canvas, batch=1)
        self.inputs = {name: tensor.numpy() for name, tensor in self._tensors.items()}
        self.outputs: dict[str, NDArray[Any]] = {}
        self.run()

    def run(self) -> None:
        with torch.inference_mode():
            found = self._detector(*self._tensors.values())
        self.outputs = {name: tensor.numpy() for name, tensor in zip(OUTPUTS, found, strict=True)}


def main() -> None:
    """Read the arguments, compare the engines, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--clips', type=Path, help='folder of videos to add')
    parser.add_argument('--frames', type=int, default=20, help='number of frames of each video')
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--calibrate', type=Path, help='recording with the calibration images for int8')
    parser.add_argument('--cpu-only', action='store_true', help='leave out the emulation of TensorRT')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engines = load_engines(arguments.weights, arguments.calibrate, Path(folder), arguments.cpu_only)
        found = {name: Differences() for name in (*engines, NOISE) if name not in (REFERENCE, GPU_REFERENCE)}
        labeled: list[LabeledFrame] = []
        outputs: dict[str, list[Instances]] = {name: [] for name in (*engines, NOISE)}
        for name, images, truth in videos(arguments.clips, arguments.frames):
            seen = compare(images, engines, found)
            if truth:
                labeled += truth
                outputs = {name: [*outputs[name], *seen[name]] for name in outputs}
            print(name, flush=True)
        figures: dict[str, Any] = {name: differences.summary() for name, differences in found.items()}
        figures['scene_ap'] = {name: round(score(labeled, own).ap, 4) for name, own in outputs.items()}
        reference = engines[REFERENCE].describe().engine
        text = json.dumps({'weights': arguments.weights, 'reference': reference, **figures}, indent=1)
    arguments.out.write_text(text + '\n', encoding='utf-8')
    print(text)


def load_engines(weights: str, calibrate: Path | None, folder: Path, cpu_only: bool) -> dict[str, Any]:
    """All engines by name, including the references. cpu_only: those of OpenVINO and torch."""
    path = resolve(weights)
    low: dict[str, Any] = {'score_threshold': LOWEST_SCORE}
    engines: dict[str, Any] = {REFERENCE: load_engine(weights, engine='torch', device='cpu', **low)}
    engines['openvino fp32'] = load_engine(weights, engine='openvino', precision='fp32', **low)
    best = load_engine(weights, engine='openvino', **low)
    engines.setdefault(f'openvino {best.describe().precision}', best)
    images = [
        frame.image
        for source in (open_recordings(calibrate) if calibrate else ())
        for _, frame in zip(range(40), source, strict=False)
    ]
    if images:
        export(path, 'cpu', precision='int8', images=images, out=folder)
        engines['openvino int8'] = load_engine(folder / path.name, engine='openvino', precision='int8', **low)
    if cpu_only:
        return engines
    config = network_config(path, **low)
    engines[GPU_REFERENCE] = BatchDetector(OnnxSession(export(path, 'gpu', precision='fp32', out=folder)), config)
    engines['as TensorRT, fp16'] = BatchDetector(HalfSession(path), config)
    if images:
        graph = export(path, 'gpu', precision='int8', images=images, out=folder)
        engines['as TensorRT, int8'] = BatchDetector(OnnxSession(graph), config)
    return engines


def videos(clips: Path | None, frames: int) -> Iterator[tuple[str, list[Image], list[LabeledFrame]]]:
    """Name, images and, of synthetic ones, labels of each video."""
    for number, size in enumerate(SIZES):
        scene = Scene(seed=10 + number, size=size, frames=3 * frames)
        labeled = [scene.frame(index) for index in range(frames)]
        yield f'scene {size[1]}x{size[0]}', [frame.image for frame in labeled], labeled
    for path in sorted(clips.iterdir()) if clips else ():
        (source,) = open_recordings(path)
        yield path.name, [frame.image for _, frame in zip(range(frames), source, strict=False)], []


def compare(images: list[Image], engines: dict[str, Any], found: dict[str, Differences]) -> dict[str, list[Instances]]:
    """Run all engines on one video and add their differences to `found`. Returns the detections of each engine."""
    outputs: dict[str, list[Instances]] = {name: [] for name in (*engines, NOISE)}
    random = np.random.default_rng(0)
    detector = engines[REFERENCE]  # unused: all detections are given to the trackers
    trackers = {name: DetectAndTrack(detector, IdentityMemory()) for name in (*engines, NOISE)}
    names: dict[str, dict[int, int]] = {name: {} for name in found}
    for number, image in enumerate(images):
        noisy = np.clip(image + random.integers(-1, 2, image.shape), 0, 255).astype(np.uint8)
        seen: dict[str, Instances] = {name: engine.infer([image])[0] for name, engine in engines.items()}
        seen[NOISE] = engines['openvino fp32'].infer([noisy])[0]
        for name, one in seen.items():
            outputs[name].append(one)
        tracked = {
            name: trackers[name].track(one[one.scores > TRACKED_SCORE], number / 25) for name, one in seen.items()
        }
        for name, differences in found.items():
            reference = GPU_REFERENCE if name.startswith('as TensorRT') else REFERENCE
            differences.detect(seen[reference], seen[name])
            differences.track(tracked[reference], tracked[name], names[name])
    return outputs


if __name__ == '__main__':
    main()
