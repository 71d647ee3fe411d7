"""The training config for somebody's own labels, as commented YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass

from vis_ros.evaluation.paired_interval import FEWEST
from vis_ros.evaluation.video_evaluation import SEGMENT_FRAMES
from vis_ros.training.own_labels import OwnLabels
from vis_ros.training.run_cost import RunCost

FEW_PHOTOS = 1000
"""Below this number of photos the run takes smaller steps, so that the start is not forgotten."""

_STEPS_PER_PHOTO = 8
_FRAMES_PER_PHOTO = 4
"""Frames of a video that teach as much as one photo."""
_FEWEST_STEPS, _MOST_STEPS = 300, 6000
_VALIDATIONS = 8
_FEWEST_BETWEEN = 20
_PATIENCE = 4
"""Half of the run: new classes first cost what the weights know of the others."""
_HELD_OUT_VIDEOS = 5
"""Every fifth video is held out."""
_LEAST_PHOTOS = 10
"""With fewer photos, no tenth one is held out."""
_SURE_PHOTOS = 20
"""With fewer held-out photos, the verdict rarely decides."""
_MOST_HELD_OUT, _HELD_OUT_FRAMES = 12, 10
"""Held-out videos of a validation, at most, and frames of each."""
_COMPOSITES = 6
"""Composed videos of a validation: one more than a verdict needs."""


@dataclass(frozen=True)
class OwnConfig:
    """What a config is made of.

    Attributes:
        labels: to train on.
        held_out: other labels to validate on; None holds out a part of `labels`.
        weights: the start.
        size: (height, width) of the training frames.
        name: of the model and of the folder in runs/.
        steps: of the run; 0 chooses them by the amount of data.
        workers, pairs: as in TrainConfig.

    Raises:
        ValueError: nothing can be held out, or the two labels are of different kinds.
    """

    labels: OwnLabels
    held_out: OwnLabels | None
    weights: str
    size: tuple[int, int]
    name: str
    steps: int = 0
    workers: int = 1
    pairs: int = 2

    def __post_init__(self) -> None:
        labels = self.labels
        if not self.steps:
            samples = labels.count if labels.of_photos else labels.count // _FRAMES_PER_PHOTO
            steps = min(max(_STEPS_PER_PHOTO * samples, _FEWEST_STEPS), _MOST_STEPS)
            object.__setattr__(self, 'steps', round(steps, -1))
        if self.held_out is not None:
            if self.held_out.of_photos != labels.of_photos:
                kinds = ['photos' if each.of_photos else 'videos' for each in (labels, self.held_out)]
                raise ValueError(f'{labels.path} holds {kinds[0]}, but {self.held_out.path} {kinds[1]}')
            unknown = [name for name in self.held_out.classes if name not in labels.classes]
            if unknown:
                raise ValueError(f'{self.held_out.path} has classes that {labels.path} does not have: {unknown}')
        elif labels.of_photos and labels.count < _LEAST_PHOTOS:
            raise ValueError(
                f'{labels.path} has {labels.count} photos: every tenth is held out, so {_LEAST_PHOTOS} are the least; '
                'or give other labels with --held-out'
            )
        elif not labels.of_photos and len(labels.videos) < 2:
            raise ValueError(
                f'{labels.path} has one video, so that none can be held out: give other labels with --held-out'
            )

    @property
    def every(self) -> int:
        """Steps between validations."""
        return max(self.steps // _VALIDATIONS, min(_FEWEST_BETWEEN, self.steps))

    @property
    def validations(self) -> int:
        """Their number in a run that is not stopped, with those of the start and of the verdict."""
        return -(-self.steps // self.every) + 3

    def contents(self) -> str:
        """What the config trains and validates on, in words."""
        labels = self.labels
        what = f'{labels.count} photos' if labels.of_photos else f'{labels.count} frames of {len(labels.videos)} videos'
        named = ', '.join(labels.classes) if 0 < len(labels.classes) <= 8 else f'{len(labels.classes)} classes'
        return f'{what}, {named}' if labels.classes else f'{what}, no class names'

    def remarks(self) -> list[str]:
        """What the user should know before the run."""
        remarks = []
        held_out = self._held_out_count()
        if self.labels.of_photos and held_out < _SURE_PHOTOS:
            remarks.append(
                f'{held_out} photos are held out: with fewer than {_SURE_PHOTOS} the verdict at the end rarely decides '
                '(--held-out gives other ones)'
            )
        if self.labels.labels == 'partial':
            remarks.append('only some objects are labeled: all other pixels are ignored in training')
        return remarks

    def _validation_size(self) -> tuple[int, int]:
        """Videos of a source and frames of each: enough videos for a verdict, or enough segments of few videos."""
        if self.labels.of_photos:
            return _COMPOSITES, _HELD_OUT_FRAMES
        held_out = len(self.held_out.videos if self.held_out else self._split_videos()[1])
        videos = min(held_out, _MOST_HELD_OUT)
        return videos, _HELD_OUT_FRAMES if videos >= FEWEST else SEGMENT_FRAMES * -(-FEWEST // videos)

    def _held_out_count(self) -> int:
        return self.labels.count // 10 if self.held_out is None else self.held_out.count

    def to_yaml(self, cost: RunCost | None = None) -> str:
        """The text of the config file. cost: as it was measured on this machine."""
        videos, frames = self._validation_size()
        partial = (self.held_out or self.labels).labels == 'partial'
        few = not self.labels.of_photos or self.labels.count < FEW_PHOTOS
        rate, backbone_rate = ('2.0e-4', '5.0e-5') if few else ('4.0e-4', '1.0e-4')
        note = 'small, so that a few photos do not undo what the weights know' if few else 'for many photos'
        head = [
            f'# Fine-tunes {self.weights} on {self.labels.path}: {self.contents()}.',
            '# Every field is explained in config/train_masktrack_rcnn.yaml.',
            *([f'# {line}' for line in cost.lines(self.steps, self.validations)] if cost else []),
        ]
        body = f"""
out: {_text(f'runs/{self.name}')}  # folder of the run; the same command continues an interrupted run
weights: {_text(self.weights)}  # the start; it keeps its classes if it has all of yours
model: {{name: {_text(self.name)}}}

data:
{self._data()}
steps: {self.steps}  # at most; the run stops earlier when validation no longer improves
pairs: {self.pairs}  # pairs of frames in a step; more need more memory
image_height: {self.size[0]}  # input size of the weights; others only if objects are too small in it
image_width: {self.size[1]}
learning_rate: {rate}  # {note}
backbone_learning_rate: {backbone_rate}
warm_up_steps: {min(50, max(self.steps // 10, 1))}
ema: 0.99
workers: {self.workers}  # processes that make training samples
log_every: 20
checkpoint_every: {min(50, self.every)}

validation:  # also before the first step, so that there is something to compare with
  data:
{self._validation()}
  every: {self.every}  # steps
  videos: {videos}  # of each source but photos
  frames: {frames}  # of each video
  patience: {_PATIENCE}  # the run stops when this many validations in a row find no new best
  figure: {'J&F' if partial else 'AP'}  # of the first source; selects the best weights
  class_aware: {'true' if len(self.labels.classes) > 1 else 'false'}
"""
        return '\n'.join(head) + body

    def _data(self) -> str:
        part = 'all' if self.held_out else 'training'
        if not self.labels.of_photos:
            only, _ = self._split_videos()
            return _source('  ', self.labels, 'videos', 'your videos', only=only)
        photos = _source('  ', self.labels, 'images', 'your photos as they are', weight=0.5, part=part)
        if not self.labels.objects:
            return photos
        moving = 'objects of your photos, cut out, that move over them: they train tracking'
        return _source('  ', self.labels, 'composites', moving, weight=0.5, part=part) + photos

    def _validation(self) -> str:
        labels = self.held_out or self.labels
        part = 'all' if self.held_out else 'held-out'
        if not labels.of_photos:
            _, only = self._split_videos()
            return _source('    ', labels, 'videos', 'held-out videos', only=only).rstrip('\n')
        photos = _source('    ', labels, 'images', 'held-out photos, which select the best weights', part=part)
        if self.held_out is not None and not labels.objects:
            return photos.rstrip('\n')
        moving = 'moving objects of the held-out photos, for tracking'
        return (photos + _source('    ', labels, 'composites', moving, part=part)).rstrip('\n')

    def _split_videos(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the videos to train on and to validate on; empty for all."""
        names = self.labels.videos
        if self.held_out is not None:
            return (), ()
        held_out = names[::-_HELD_OUT_VIDEOS][::-1]
        return tuple(name for name in names if name not in held_out), held_out


def _source(
    indent: str,
    labels: OwnLabels,
    kind: str,
    comment: str,
    *,
    weight: float | None = None,
    part: str = '',
    only: tuple[str, ...] = (),
) -> str:
    fields = {
        'weight': weight,
        'images': labels.images or None,
        'annotations': str(labels.path),
        'classes': 'categories' if labels.of_photos else None,
        'part': part if part not in ('', 'all') else None,
        'only': list(only) or None,
        'object_class': None if labels.classes else 'object',
        'exhaustive': False if labels.labels == 'partial' else None,
    }
    lines = [
        f'- kind: {kind}  # {comment}',
        *(f'  {name}: {_text(value)}' for name, value in fields.items() if value is not None),
    ]
    return ''.join(f'{indent}{line}\n' for line in lines)


def _text(value: object) -> str:
    """A value in YAML, on one line: plain words as they are, others as JSON."""
    plain = isinstance(value, str) and value.replace('/', '').replace('_', '').replace('.', '').isalpha()
    return (
        str(value) if plain and value not in ('true', 'false', 'null', 'yes', 'no', 'on', 'off') else json.dumps(value)
    )
