"""RunCost: what a training run takes on this machine, measured with a few of its steps and one validation."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, replace

import torch

from vis_ros.machine import peak_memory_mib
from vis_ros.scratch import ScratchFolder
from vis_ros.training.train_config import TrainConfig
from vis_ros.training.trainer import Trainer

_STEPS, _FIRST = 8, 3
"""Steps that are made, and those of them that only warm up."""
_KIB_OF_MIB = 1024
_GIB = 1024**3


@dataclass(frozen=True)
class RunCost:
    """Seconds a step and a validation, and the peak memory in GiB of all processes and of the GPU (0 without one)."""

    device: str
    step_s: float
    validation_s: float
    memory_gib: float
    gpu_gib: float

    def seconds(self, steps: int, validations: int) -> float:
        """How long a run with this many steps and validations takes."""
        return steps * self.step_s + validations * self.validation_s

    def lines(self, steps: int, validations: int) -> list[str]:
        """The cost of a run in words."""
        gpu = f' and {self.gpu_gib:.1f} GiB of the GPU' if self.gpu_gib else ''
        return [
            f'Expected on this machine ({self.device}): {_duration(self.seconds(steps, validations))} for {steps} '
            f'steps and {validations} validations,',
            f'{self.memory_gib:.1f} GiB of memory{gpu}. '
            f'Measured: {self.step_s:.2f} s a step, {self.validation_s:.1f} s a validation.',
        ]


def measure_run(config: TrainConfig) -> RunCost:
    """Make a few steps and a validation of a run in a temporary folder. ValueError as when the run starts."""
    with ScratchFolder() as folder:
        trainer = Trainer(replace(config, steps=_STEPS), folder / 'run')
        times = []
        for images, truth in trainer.batches():
            trainer.train_step(images, truth)
            times.append(time.perf_counter())
        start = time.perf_counter()
        if trainer.validator is not None:
            trainer.validator.run(trainer.averaged().to(trainer.device))
        validation_s = time.perf_counter() - start
    on_gpu = trainer.device.type == 'cuda'
    cores = len(os.sched_getaffinity(0))
    return RunCost(
        device=torch.cuda.get_device_name(trainer.device) if on_gpu else f'{cores} processor cores',
        step_s=(times[-1] - times[_FIRST - 1]) / (_STEPS - _FIRST),
        validation_s=validation_s,
        memory_gib=(peak_memory_mib() + config.workers * _largest_child_mib()) / 1024,
        gpu_gib=torch.cuda.max_memory_allocated(trainer.device) / _GIB if on_gpu else 0.0,
    )


def _largest_child_mib() -> float:
    """Peak memory of the largest process that this one has started and that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / _KIB_OF_MIB


def _duration(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f'{minutes // 60} h {minutes % 60} min' if minutes >= 60 else f'{minutes} min'
