"""Trainer: runs the training described by a TrainConfig and resumes it from its last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from vis_ros.claim import check_free, claim
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.training.detection_task import DetectionTask
from vis_ros.training.optimization import build_optimizer, choose_precision, freeze, learning_rate_factor
from vis_ros.training.propagation_task import PropagationTask
from vis_ros.training.ranks import Ranks, choose_device, join_ranks
from vis_ros.training.run_end import end_sentences
from vis_ros.training.run_log import RunLog
from vis_ros.training.task import Task
from vis_ros.training.train_config import TrainConfig
from vis_ros.whole_file import whole_file


def train(config_path: Path, out: Path | None = None) -> Path:
    """Run or resume the training that a YAML file describes. Under `torchrun` all processes train together.

    Args:
        config_path: YAML file with the fields of TrainConfig.
        out: folder of the run; None takes the one in the config.

    Returns:
        the path of the best model file, or without validation of the last one.
    """
    config = TrainConfig.read(config_path)
    with join_ranks(config.device) as ranks:
        return Trainer(config, out or Path(config.out), ranks).run()


def open_task(config: TrainConfig, console: Console, first: bool) -> Task:
    """The task of a config, with its data opened and checked. first: whether this is the first process."""
    if isinstance(config.model, PropagationConfig):
        return PropagationTask(config, config.model, console, first)
    return DetectionTask(config, config.model, console, first)


_KEYS = {
    'step', 'pairs_seen', 'network', 'average', 'optimizer', 'scheduler', 'scaler', 'random', 'best', 'model',
}  # fmt: skip
"""Contents of a checkpoint."""


class _DamagedError(ValueError):
    pass


class Trainer:
    """The state of a run: network, averaged weights, optimizer and step. `run` continues from the last checkpoint.

    Args:
        config: of the run.
        out: folder of the checkpoint, the logs and the model file.
        ranks: the processes that train together; None if this one trains alone.
    """

    def __init__(self, config: TrainConfig, out: Path, ranks: Ranks | None = None) -> None:
        ranks = ranks or Ranks(0, 1, choose_device(config.device))
        if ranks.first:
            check_free(out)
        self.config, self.out, self.ranks, self.device = config, out, ranks, ranks.device
        self.console = Console(quiet=not ranks.first)
        torch.manual_seed(config.seed)
        self.task: Task = open_task(config, self.console, ranks.first)
        self.model, self.validator = self.task.model, self.task.validator
        self.network = self.task.build()
        self._print(self.task.start(self.network))
        freeze(self.network, config.frozen_blocks)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.optimizer = build_optimizer(self.network, config)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config)
        )
        self.precision = choose_precision(config.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.losses = self.task.losses(self.network)
        if ranks.world > 1:
            self.losses = DistributedDataParallel(self.losses, find_unused_parameters=self.task.unused_weights)
            torch.manual_seed(config.seed + ranks.rank)
        self.step = 0
        self.pairs_seen = 0
        self.best: dict[str, float] = {}
        if ranks.first:
            claim(out)
        if self.checkpoint.exists():
            try:
                self._resume(self.checkpoint)
            except _DamagedError as error:
                if not self.previous_checkpoint.exists():
                    raise
                self._print(f'{error}; continuing from {self.previous_checkpoint}')
                self._resume(self.previous_checkpoint)

    @property
    def checkpoint(self) -> Path:
        """The file a resumed run continues from."""
        return self.out / 'checkpoint.pt'

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last one, in case that is damaged."""
        return self.out / 'checkpoint.previous.pt'

    @property
    def model_file(self) -> Path:
        """The averaged weights as a model file, rewritten with each checkpoint."""
        return self.out / f'{self.model.name}.safetensors'

    @property
    def best_file(self) -> Path:
        """The averaged weights with the best validation result so far."""
        return self.out / f'{self.model.name}_best.safetensors'

    def run(self) -> Path:
        """Train up to step `config.steps`, or until validation stops it. Returns `best_file` or `model_file`."""
        config = self.config
        processes = f' on each of {self.ranks.world} processes' if self.ranks.world > 1 else ''
        self._print(
            f'{self.task.describe()}, on {self.device}, {self.precision}, '
            f'{config.pairs} samples a step{processes}, step {self.step} of {config.steps}, out {self.out}'
        )
        if self.ranks.first:
            self._run_and_log()
        else:
            for images, truth in self._batches_until_stop():
                self.train_step(images, truth)
                if self._due(config.checkpoint_every):
                    self.save()
        if self.step < config.steps:
            self.save()  # started again, the run stops again
        return self._end() if self.ranks.first else self.model_file

    def _run_and_log(self) -> None:
        config = self.config
        with RunLog(self.out, self.step, config.steps, self.console) as log:
            if self.validator is not None and self.step == 0:
                self.validate(log)
            for images, truth in self._batches_until_stop():
                log.add(self.step + 1, self.train_step(images, truth))
                if self._due(config.log_every):
                    log.close_window(self.step, float(self.scheduler.get_last_lr()[-1]))
                if self.step % config.picture_every == 0 or self.step == 1:
                    log.image(self.step, 'training data', self.task.draw(images, truth))
                if self.validator is not None and self._due(self.validator.config.every):
                    self.validate(log)
                if self._due(config.checkpoint_every):
                    self.save()

    def _end(self) -> Path:
        """Write what is missing and say how the run ended. Returns the file to use."""
        if not self.model_file.exists():
            self.task.save(self.averaged(), self.model_file)
        self._print(f'wrote {self.model_file}, the weights of step {self.step}')
        if self.validator is None:
            return self.model_file
        files = self.best_file, self.model_file
        for sentence in end_sentences(self.task, self.validator.config, self.best, *files, self.device):
            self._print(sentence)
        return self.best_file

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _batches_until_stop(self) -> Iterator[tuple[Any, Any]]:
        if self._stops():
            return
        for batch in self.batches():
            yield batch
            if self._stops():
                return

    def _stops(self) -> bool:
        """Whether validation has not improved for long. All processes call this at the same steps."""
        validation = self.config.validation
        if validation is None or not validation.patience or self.step == 0 or not self._due(validation.every):
            return False
        waited = self.step - self.best['step'] if self.ranks.first else 0
        stops = waited >= validation.patience * validation.every
        if bool(self.ranks.mean(torch.tensor([float(stops)], device=self.device)) > 0):
            self._print(f'stopped at step {self.step}: no new best in the last {waited} steps')
            return True
        return False

    def batches(self) -> DataLoader[Any]:
        """The batches (images, truth) of this process, from the current step to the last one."""
        remaining = max(self.config.steps - self.step, 0)
        return self.task.loader(remaining, self.pairs_seen, self.ranks.rank, self.ranks.world)

    def train_step(self, images: Any, truth: Any) -> dict[str, float]:
        """Do one optimizer step.

        Returns:
            the losses by name, 'total' and 'gradient_norm', averaged over all processes.
        """
        self.network.train()
        scale = self.config.input_scales[int(torch.randint(len(self.config.input_scales), ()))]
        batch = self.task.to_input(images, truth, scale, self.step / self.config.steps, self.device)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            found = self.losses(*batch)
        total = torch.stack(list(found.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        if self.scaler.is_enabled() or torch.isfinite(norm):
            self.scaler.step(self.optimizer)  # an enabled scaler skips steps with infinite gradients
        self.scaler.update()
        self.scheduler.step()
        self._average()
        self.step += 1
        self.pairs_seen += self.config.pairs * self.ranks.world
        values = torch.stack([*(value.detach() for value in found.values()), total.detach(), norm])
        return dict(zip([*found, 'total', 'gradient_norm'], self.ranks.mean(values).tolist(), strict=True))

    @torch.no_grad()
    def _average(self) -> None:
        # decay less at the start, or the first checkpoints would hold little but the initial weights
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        trained = [(name, tensor) for name, tensor in self.network.named_parameters() if tensor.requires_grad]
        averages = [self.average[name] for name, _ in trained]
        torch._foreach_lerp_(averages, [tensor.detach() for _, tensor in trained], 1 - decay)

    def validate(self, log: RunLog) -> None:
        """Score the averaged weights, and save them if they are the best so far."""
        assert self.validator is not None
        network = self.averaged()
        result = self.validator.run(network.to(self.device))
        value = result.metrics[self.validator.config.figure]
        better = not self.best or value > self.best['value']
        if better:
            self.best = {'start': value} | self.best | {'step': self.step, 'value': value}
            self.task.save(network, self.best_file)
        log.validation(self.step, result.metrics, better)
        log.image(self.step, 'validation: ground truth, prediction', result.image)

    def save(self) -> None:
        """Write the checkpoint and the model file, each atomically. Every process calls this; only the first writes."""
        random = self.ranks.gather(_random_state(self.device))
        if not self.ranks.first:
            return
        state = {
            'step': self.step,
            'pairs_seen': self.pairs_seen,
            'network': self.network.state_dict(),
            'average': self.average,
            'optimizer': self.optimizer.state_dict(),
            'scheduler': self.scheduler.state_dict(),
            'scaler': self.scaler.state_dict(),
            'random': random,
            'best': self.best,
            'model': self.model.to_json(),
        }
        # Model file first: a run that is killed between the two writes it again when it resumes.
        self.task.save(self.averaged(), self.model_file)
        with whole_file(self.checkpoint) as partial:
            torch.save(state, partial)
            if self.checkpoint.exists():
                self.previous_checkpoint.unlink(missing_ok=True)
                self.previous_checkpoint.hardlink_to(self.checkpoint)

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, on the CPU."""
        with torch.random.fork_rng(devices=[]):  # building draws random weights, which must not advance the run's state
            network = self.task.build()
        network.load_state_dict({name: tensor.cpu() for name, tensor in self.average.items()})
        return network.eval()

    def _resume(self, checkpoint: Path) -> None:
        try:
            with checkpoint.open('rb') as file:  # a zip file has a CRC of each tensor, which torch does not check
                damaged = ZipFile(file).testzip()
            saved = torch.load(checkpoint, map_location=self.device, weights_only=True)
            missing = _KEYS - saved.keys() - {'pairs_seen'}
        except Exception as error:  # a damaged file fails in as many ways as it has bytes
            raise _DamagedError(f'{checkpoint} is damaged ({type(error).__name__})') from error
        if damaged or missing:
            raise _DamagedError(f'{checkpoint} is damaged ({damaged or ", ".join(sorted(missing))})')
        if saved['model'] != self.model.to_json():
            raise ValueError(f'{checkpoint} holds another model: set another `out`, or delete the file to start over')
        if 'pairs_seen' not in saved:
            raise ValueError(
                f'{checkpoint} is from an older vis_ros: set another `out`, or delete the file to start over'
            )
        self.network.load_state_dict(saved['network'])
        self.average = saved['average']
        self.optimizer.load_state_dict(saved['optimizer'])
        self.scheduler.load_state_dict(saved['scheduler'])
        self.scaler.load_state_dict(saved['scaler'])
        self.step, self.pairs_seen, self.best = saved['step'], saved['pairs_seen'], saved['best']
        if len(saved['random']) == self.ranks.world:
            _set_random_state(saved['random'][self.ranks.rank], self.device)
        else:
            self._print(
                f'the checkpoint was written by {len(saved["random"])} processes and there are {self.ranks.world} now: '
                'the data continue where they stopped, the random state starts over'
            )

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _random_state(device: torch.device) -> list[Tensor]:
    """The random state of torch and, on a GPU, of CUDA. Training samples do not use it: each has its own seed."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == 'cuda' else [])]


def _set_random_state(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0].cpu())
    if device.type == 'cuda' and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)
