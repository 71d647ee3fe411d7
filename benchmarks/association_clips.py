"""Clips to test association alone: the detections of a network in composed videos, stored with the ground truth.

    python -m benchmarks.association_clips OUT --tune IMAGES ANNOTATIONS --report IMAGES ANNOTATIONS [--weights demo]

40 clips of 80 frames in 512x288 show six scenarios. Half of the clips of each are for tuning, half for the final
report. 28 clips are composed of the objects and images of a COCO set (`--tune` and `--report` should share no image),
the others of synthetic shapes. OUT receives one file per clip. Clips that are already there are not made again.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import Rle, encode, encode_crop
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.engines.loading import network_config
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.evaluation.metrics.mask_overlaps import FrameOverlaps, measure
from vis_ros.networks.mask_rcnn import RawDetections
from vis_ros.networks.named_weights import resolve
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.composite_video import CompositeVideo, MovingObject
from vis_ros.synthetic.composites import CompositeConfig, CompositeVideos, Video
from vis_ros.synthetic.davis_sequence import DAVIS_TRAIN, DavisSequence
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.motion import Absence, ObjectMotion, Wave
from vis_ros.synthetic.scene import Pillar, SceneVideos, ScriptedMotion

SIZE = 288, 512
FRAMES = 80
RATE = 20.0
"""Frames per second of the composed videos, before frames are left out."""
SHAPE_CLASS = 12
LOWEST_SCORE = 0.05
MOST_DETECTIONS = 40

_CALM = CompositeConfig(
    length=2 * FRAMES, objects=(4, 7), sizes=(0.1, 0.5), absence=0, meeting=0, same_class=0, duplicate=0, empty=0
)
_MIXED = CompositeConfig(length=2 * FRAMES, objects=(4, 8), sizes=(0.1, 0.5), empty=0)

SCENARIOS: dict[str, tuple[int, CompositeConfig]] = {
    'crossing': (8, replace(_CALM, meeting=1, standing=0.2)),
    'occlusion': (8, replace(_CALM, sizes=(0.1, 0.3), growth=0.1, tilt=0.1, standing=0)),
    'lookalikes': (6, replace(_CALM, meeting=0.5, same_class=0.4, duplicate=0.5)),
    'leaving': (6, replace(_CALM, duplicate=0.2, standing=0)),
    'low_rate': (6, replace(_MIXED, length=4 * FRAMES)),
    'dropped': (6, _MIXED),
}
"""Scenario -> number of clips, and config of the videos without the events that `make_video` adds.

crossing: the path of every object crosses that of another one. occlusion: objects stop behind a pillar for up to 3 s.
lookalikes: objects of one class and exact copies meet. leaving: objects leave the frame for up to 4 s and return.
low_rate: all of these at 5 Hz. dropped: all of these at 20 Hz with bursts of missing frames.
The first four scenarios are at 10 Hz.
"""


@dataclass(frozen=True)
class AssociationClip:
    """One video: the clip `number` of a scenario."""

    scenario: str
    number: int

    @property
    def half(self) -> str:
        return ('tune', 'report')[self.number % 2]

    @property
    def shapes(self) -> bool:
        """Whether the objects are synthetic shapes instead of object crops."""
        return self.number // 2 % 3 == 2

    @property
    def seed(self) -> int:
        return 900_000 + 1000 * list(SCENARIOS).index(self.scenario) + self.number

    @property
    def name(self) -> str:
        return f'{self.half}_{self.scenario}_{self.number}'

    def times(self) -> list[int]:
        """Indices of the frames that are used."""
        if self.scenario == 'low_rate':
            return list(range(0, 4 * FRAMES, 4))
        if self.scenario == 'dropped':
            random = np.random.default_rng((self.seed, 0xD409))
            gaps = np.where(random.random(FRAMES) < 0.15, random.integers(2, 13, FRAMES), 1)
            return [int(time) for time in np.cumsum(gaps) - gaps[0]]
        return list(range(0, 2 * FRAMES, 2))


CLIPS = [AssociationClip(scenario, number) for scenario, (count, _) in SCENARIOS.items() for number in range(count)]


@dataclass(frozen=True, eq=False)
class Found:
    """N detections of one frame, and their overlaps with the T true objects and with each other.

    boxes (N, 4), scores (N,), class_ids (N,), embeddings (N, D): from the engine.
    overlaps: with the ground truth; `result_ids` are the indices 0 to N - 1.
    shared: (N, N) number of pixels that two masks share, with the areas of the masks on the diagonal.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    embeddings: NDArray[np.float32]
    overlaps: FrameOverlaps
    shared: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StoredFrame:
    """One frame. network: detections of the network; perfect: the true objects with noise, see `_perfect`."""

    stamp: float
    network: Found
    perfect: Found


def make_video(clip: AssociationClip, dataset: CocoDataset) -> CompositeVideo:
    """The video of a clip with the events of its scenario."""
    config = SCENARIOS[clip.scenario][1]
    if clip.shapes:
        video = SceneVideos(SIZE, SHAPE_CLASS, config).video(clip.seed)
    else:
        video = CompositeVideos(dataset, dataset.objects(), SIZE, config).video(clip.seed)
    random = np.random.default_rng((clip.seed, 0x57A6E))
    if clip.scenario == 'leaving':
        video.moving_objects = [
            _leave(random, actor) if index % 3 else actor for index, actor in enumerate(video.moving_objects)
        ]
    if clip.scenario == 'occlusion':
        video.moving_objects = _behind_pillar(random, video.moving_objects)
    return video


def _leave(random: np.random.Generator, actor: MovingObject) -> MovingObject:
    """The actor with an absence of 0.5 to 4 seconds."""
    if not isinstance(actor.motion, ObjectMotion):
        return actor
    begin = float(random.uniform(0.15, 0.4)) * 2 * FRAMES
    side = actor.motion.scale * actor.source.extent
    left = random.random() < 0.5
    place = (-0.8 * side if left else SIZE[1] + 0.8 * side, actor.motion.home[1])
    absence = Absence(begin, begin + float(random.uniform(0.5, 4)) * RATE, float(random.uniform(10, 30)), place)
    return replace(actor, motion=replace(actor.motion, absences=(absence,)))


def _behind_pillar(random: np.random.Generator, actors: Sequence[MovingObject]) -> list[MovingObject]:
    """A wide pillar in front, and two of three actors that stop behind it for up to 3 seconds and come out again."""
    height, width = SIZE
    middle = float(random.uniform(0.35, 0.65)) * width
    pillar = Pillar(int(random.integers(64)))
    end = 2.0 * FRAMES
    staged = []
    for index, actor in enumerate(actors):
        if index % 3 == 2 or not isinstance(actor.motion, ObjectMotion):
            staged.append(actor)
            continue
        y = float(random.uniform(0.15, 0.85)) * height
        sides = random.permutation([0.1, 0.9]) if random.random() < 0.7 else [0.1, 0.1]
        start, goal = (x * width + float(random.normal(0, 0.05)) * width for x in sides)
        hidden = float(random.uniform(0.2, 3)) * RATE
        arrive = float(random.uniform(15, 0.9 * (end - hidden - 20)))
        before, after = max(arrive - float(random.uniform(15, 40)), 0), arrive + hidden + float(random.uniform(15, 40))
        motion = ScriptedMotion(
            times=(before, arrive, arrive + hidden, after),
            places=((start, y), (middle, y), (middle, y), (goal, y)),
            scale=actor.motion.scale,
            waves=tuple(Wave.random(random, 30, 150) for _ in range(4)),
            sway=3.0,
            turn=0.1,
            growth=0.05,
        )
        staged.append(replace(actor, motion=motion))
    standing = ScriptedMotion((0.0, end), ((middle, height / 2),) * 2, 0.4 * height / 92, (Wave(),) * 4)
    return [*staged, MovingObject(0, pillar, standing)]


class Recorder:
    """Runs a network on frames and keeps what the benchmark needs."""

    def __init__(self, weights: str) -> None:
        path = resolve(weights)
        config = network_config(path, score_threshold=LOWEST_SCORE, max_detections=MOST_DETECTIONS)
        self._engine = TorchEngine(path, config, threads=1)
        self._features: list[torch.Tensor] = []
        self._engine.network.backbone.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: object, features: list[torch.Tensor]) -> None:
        self._features = features

    def record(self, frame: LabeledFrame, stamp: float, random: np.random.Generator) -> StoredFrame:
        """The detections of a frame taken at `stamp` seconds; `random` makes the noise of the perfect detections."""
        (found,) = self._engine.infer([frame.image])
        size = frame.image.shape[:2]
        truth = AnnotatedFrame(
            name='',
            index=0,
            stamp_ns=None,
            size=size,
            track_ids=frame.object_ids,
            class_ids=frame.class_ids,
            scores=np.ones(len(frame)),
            masks=[encode(mask) for mask in frame.masks],
            ignored=None if frame.ignored is None else encode(frame.ignored),
        )
        masks = [encode_crop(mask, roi, size) for mask, roi in zip(found.masks, found.rois.tolist(), strict=True)]
        assert found.embeddings is not None
        network = _found(found.boxes, found.association_scores, found.class_ids, found.embeddings, masks, truth)
        return StoredFrame(stamp, network, self._perfect(frame, truth, random))

    def _perfect(self, frame: LabeledFrame, truth: AnnotatedFrame, random: np.random.Generator) -> Found:
        """The true masks, with 5 % noise on their boxes and the embeddings of the network at these boxes.

        1 object in 10 is missed, 1 in 20 has a wrong label, and scores are uniform from 0.5 to 1.
        """
        seen = np.flatnonzero(random.random(len(frame)) >= 0.1)
        boxes = frame.boxes()[seen]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + random.normal(0, 0.05, boxes.shape).astype(np.float32) * sides
        wrong = random.random(len(seen)) < 0.05
        class_ids = np.where(wrong, random.integers(0, 12, len(seen)), frame.class_ids[seen]).astype(np.int32)
        scores = random.uniform(0.5, 1, len(seen)).astype(np.float32)
        masks = [truth.masks[index] for index in seen]
        return _found(boxes, scores, class_ids, self._embed(frame, boxes), masks, truth)

    def _embed(self, frame: LabeledFrame, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of boxes in the latest image."""
        config, (height, width) = self._engine.config, frame.image.shape[:2]
        scale = min(config.input_width / width, config.input_height / height)
        scaled = torch.from_numpy(np.asarray(boxes * scale, np.float32))
        detections = RawDetections(scaled, torch.ones(len(boxes)), torch.ones(len(boxes), dtype=torch.int64))
        with torch.inference_mode():
            return self._engine.network.embeddings(self._features, [detections]).numpy()


def _found(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    embeddings: NDArray[np.float32],
    masks: Sequence[Rle],
    truth: AnnotatedFrame,
) -> Found:
    """Detections with their overlaps, without those with an empty mask."""
    kept = np.flatnonzero(coco.area(list(masks))) if masks else np.zeros(0, np.intp)
    masks = [masks[index] for index in kept]
    results = replace(
        truth,
        track_ids=np.arange(len(kept)),
        class_ids=class_ids[kept],
        scores=scores[kept],
        masks=masks,
        ignored=None,
    )
    overlaps = measure(0, truth, results)
    areas = overlaps.result_areas
    # With the crowd flag, COCO's IoU is the intersection by the area of the first mask.
    shares = coco.iou(masks, masks, [1] * len(masks)) if masks else np.zeros((0, 0))
    shared = np.rint(shares * areas[:, None]).astype(np.int64)
    return Found(boxes[kept], scores[kept], class_ids[kept], embeddings[kept], overlaps, shared)


def store(recorder: Recorder, video: Video, times: Sequence[int], rate: float, path: Path) -> None:
    """Record the frames of a video at some times into a file."""
    random = np.random.default_rng(len(times))
    frames = [recorder.record(video.frame(time), time / rate, random) for time in times]
    unfinished = path.with_suffix('.part')
    unfinished.write_bytes(pickle.dumps(frames))
    unfinished.replace(path)


def load(path: Path) -> list[StoredFrame]:
    """The frames of a clip in order. Load only files you made yourself: pickles can run code."""
    frames: list[StoredFrame] = pickle.loads(path.read_bytes())
    return frames


def main() -> None:
    """Read the arguments, make the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--tune', nargs=2, required=True, metavar=('IMAGES', 'ANNOTATIONS'))
    parser.add_argument('--report', nargs=2, required=True, metavar=('IMAGES', 'ANNOTATIONS'))
    parser.add_argument('--davis', type=Path, help='also store the sequences of this DAVIS folder')
    parser.add_argument('--weights', default='demo')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(arguments.weights)
    for half in ('tune', 'report'):
        dataset = CocoDataset(*getattr(arguments, half))
        for clip in sorted((clip for clip in CLIPS if clip.half == half), key=lambda clip: clip.number):
            path = arguments.out / f'{clip.name}.pickle'
            if not path.exists():
                store(recorder, make_video(clip, dataset), clip.times(), RATE, path)
                print(path.name, flush=True)
    if arguments.davis:
        for folder in sorted((arguments.davis / 'JPEGImages').iterdir()):
            sequence = DavisSequence(arguments.davis, folder.name)
            half = 'tune' if folder.name in DAVIS_TRAIN else 'report'
            path = arguments.out / f'{half}_davis_{folder.name}.pickle'
            if not path.exists():
                store(recorder, sequence, range(len(sequence)), 24.0, path)
                print(path.name, flush=True)


if __name__ == '__main__':
    from benchmarks import association_clips

    association_clips.main()  # not from __main__: a pickle names the module of its classes
