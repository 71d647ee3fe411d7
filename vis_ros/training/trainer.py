"""Trainer: one run from a TrainConfig, with checkpoints that a later start resumes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vis_ros.networks.backbone import TimmBody
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_file import save_model
from vis_ros.training.config import TrainConfig
from vis_ros.training.losses import LOSSES, Sampling, Target, losses
from vis_ros.training.pairs import pair_loader, to_input
from vis_ros.training.pretrained import start_from
from vis_ros.training.sources import build_mixture


def train(config_path: Path, out: Path | None = None) -> Path:
    """Run (or resume) the training that a YAML file describes; returns the finished model file."""
    config = TrainConfig.read(config_path)
    trainer = Trainer(config, out or Path(config.out))
    return trainer.run()


class Trainer:
    """State of a run: network, averaged weights, optimiser, step. `run` goes from where the checkpoint left off."""

    def __init__(self, config: TrainConfig, out: Path) -> None:
        self.config = config
        self.out = out
        self.device = _choose_device(config.device)
        torch.manual_seed(config.seed)
        self.mixture = build_mixture(config)
        self.network = build_network(config.model)
        self.started_from = start_from(self.network, config.pretrained)
        _freeze(self.network, config.frozen_blocks)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, config), weight_decay=config.weight_decay, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: _schedule(step, config))
        self.step = 0
        out.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Everything that a resumed run needs."""
        return self.out / 'checkpoint.pt'

    @property
    def model_file(self) -> Path:
        """The averaged weights as a model file, written with each checkpoint."""
        return self.out / f'{self.config.model.name}.safetensors'

    def run(self) -> Path:
        """Train until `config.steps`; returns `model_file`."""
        console = Console()
        console.print(
            f'{self.config.model.architecture} on {self.device}, step {self.step} of {self.config.steps}, '
            f'{self.started_from} pretrained tensors, out {self.out}'
        )
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress, (self.out / 'losses.jsonl').open('a') as log:
            task = progress.add_task('training', total=self.config.steps, completed=self.step)
            window = _Window()
            for images, targets in self.batches():
                window.add(self.train_step(images, targets))
                if self.step % self.config.log_every == 0:
                    row = window.close(self.step, float(self.scheduler.get_last_lr()[-1]))
                    log.write(json.dumps(row) + '\n')
                    log.flush()
                    progress.update(task, description=f'loss {row["total"]:.3f}')
                if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                    self.save()
                progress.update(task, completed=self.step)
        if not self.model_file.exists():
            self.save()
        return self.model_file

    def batches(self) -> DataLoader[Any]:
        """The batches from the present step to the last: images (2 B, H, W, 3) uint8 and their targets."""
        return pair_loader(self.mixture, self.config.pairs, self.step, self.config.steps, self.config.workers)

    def train_step(self, images: Tensor, targets: list[Target]) -> dict[str, float]:
        """One step of the optimiser; returns the losses by name, 'total' and 'gradient_norm'."""
        self.network.train()
        scale = self.config.input_scales[int(torch.randint(len(self.config.input_scales), ()))]
        batch, moved = to_input(images, targets, self.config.model, scale, self.device)
        enabled = self.config.mixed_precision and self.device.type == 'cuda'
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            found = losses(self.network, batch, moved, Sampling())
        total = torch.stack(list(found.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.scheduler.step()
        self._average()
        self.step += 1
        names = [name for name in LOSSES if name in found]
        values = torch.stack([*(found[name].detach() for name in names), total.detach(), norm]).tolist()
        return dict(zip([*names, 'total', 'gradient_norm'], values, strict=True))

    @torch.no_grad()
    def _average(self) -> None:
        # a young average follows closely, so that the first checkpoints are not the initial weights
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        trained = [(name, tensor) for name, tensor in self.network.named_parameters() if tensor.requires_grad]
        averages = [self.average[name] for name, _ in trained]
        torch._foreach_lerp_(averages, [tensor.detach() for _, tensor in trained], 1 - decay)

    def save(self) -> None:
        """Write the checkpoint and the model file, each atomically."""
        partial = self.checkpoint.with_suffix('.part')
        torch.save(
            {
                'step': self.step,
                'network': self.network.state_dict(),
                'average': self.average,
                'optimizer': self.optimizer.state_dict(),
                'scheduler': self.scheduler.state_dict(),
                'random': torch.get_rng_state(),
                'model': self.config.model.to_json(),
            },
            partial,
        )
        partial.replace(self.checkpoint)
        save_model(self.averaged(), self.model_file)

    def averaged(self) -> MaskRCNN:
        """A copy of the network with the averaged weights, on the CPU."""
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and must not move the run's random state
            network = build_network(self.config.model)
        network.load_state_dict({name: tensor.cpu() for name, tensor in self.average.items()})
        return network.eval()

    def _resume(self) -> None:
        saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if saved['model'] != self.config.model.to_json():
            raise ValueError(f'{self.checkpoint} is of another model; use another `out`, or delete it to start anew')
        self.network.load_state_dict(saved['network'])
        self.average = saved['average']
        self.optimizer.load_state_dict(saved['optimizer'])
        self.scheduler.load_state_dict(saved['scheduler'])
        torch.set_rng_state(saved['random'].cpu())
        self.step = saved['step']


class _Window:
    """Means of the losses since the last row of the log. A step that is not finite is counted, not averaged in."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._start = time.perf_counter()

    def add(self, row: dict[str, float]) -> None:
        self._rows.append(row)

    def close(self, step: int, rate: float) -> dict[str, float]:
        finite = [row for row in self._rows if math.isfinite(row['total'])]
        means = {name: float(np.mean([row[name] for row in finite])) for name in (finite[0] if finite else {})}
        seconds = time.perf_counter() - self._start
        skipped = len(self._rows) - len(finite)
        row = {'step': step, **means, 'learning_rate': rate, 'steps_per_second': len(self._rows) / seconds}
        self._rows, self._start = [], time.perf_counter()
        return row | ({'not_finite': skipped} if skipped else {}) | ({} if finite else {'total': math.nan})


def _schedule(step: int, config: TrainConfig) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine to 1 %."""
    if step < config.warm_up_steps:
        return (step + 1) / config.warm_up_steps
    progress = (step - config.warm_up_steps) / max(config.steps - config.warm_up_steps, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1))) / 2


def _parameter_groups(network: MaskRCNN, config: TrainConfig) -> list[dict[str, Any]]:
    body = [p for p in network.backbone.body.parameters() if p.requires_grad]
    inside = {id(p) for p in body}
    heads = [p for p in network.parameters() if p.requires_grad and id(p) not in inside]
    return [
        {'params': body, 'lr': config.backbone_learning_rate},
        {'params': heads, 'lr': config.learning_rate},
    ]


def _freeze(network: MaskRCNN, blocks: int) -> None:
    """Keep every batch norm, the stem and the first blocks of a timm body, or stem and layer1.. of a ResNet."""
    body = network.backbone.body
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters():
                parameter.requires_grad_(False)
    if blocks < 0:
        return
    inner = body.network if isinstance(body, TimmBody) else body
    for name, parameter in inner.named_parameters():
        head, _, rest = name.partition('.')
        first = head in ('conv_stem', 'conv1', 'bn1') or head in {f'layer{i + 1}' for i in range(blocks)}
        if first or (head == 'blocks' and int(rest.split('.')[0]) < blocks):
            parameter.requires_grad_(False)


def _choose_device(device: str) -> torch.device:
    if device != 'auto':
        return torch.device(device)
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
