"""RunLog: the progress bar, the JSON lines and the TensorBoard files of a training run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.table import Column

from vis_ros.whole_file import naming, write_whole

LOSSES_FILE, VALIDATION_FILE = 'losses.jsonl', 'validation.jsonl'
_SHOWN_METRICS = ('AP', 'AP50', 'HOTA', 'IDF1', 'J&F')
"""Those of a detector that are printed. A propagation network has J only."""


class RunLog:
    """Writes losses.jsonl, validation.jsonl and, if TensorBoard is installed, tensorboard/.

    In a terminal it shows a progress bar, elsewhere it prints one line for each row of losses.

    Args:
        out: folder of the run.
        step: the step the run starts at. Rows of later steps, left by a run that stopped after its last checkpoint,
            are removed, and all rows if it starts at 0.
        steps: number of the last step.
        console: where progress goes.
    """

    def __init__(self, out: Path, step: int, steps: int, console: Console) -> None:
        self._out, self._step, self._steps, self._console = out, step, steps, console
        self._window: list[dict[str, float]] = []
        self._start = time.perf_counter()
        for name in (LOSSES_FILE, VALIDATION_FILE):
            _keep_rows(out / name, step)
        self._board = _tensorboard(out / 'tensorboard', step, console)
        columns = (
            TextColumn('{task.description}', table_column=Column(min_width=24)),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeLeftColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = TaskID(0)

    def __enter__(self) -> RunLog:
        self._bar.start()
        self._task = self._bar.add_task('training', total=self._steps, completed=self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        """Add the losses of one step, by name."""
        self._window.append(dict(losses))
        self._bar.update(self._task, completed=step)

    def close_window(self, step: int, learning_rate: float) -> None:
        """Write the mean losses since the last call. Steps with a loss that is not finite are counted, not averaged."""
        finite = [row for row in self._window if math.isfinite(row['total'])]
        names = dict.fromkeys(name for row in finite for name in row)
        means = {name: float(np.mean([row[name] for row in finite if name in row])) for name in names}
        rate = len(self._window) / (time.perf_counter() - self._start)
        row: dict[str, Any] = {'step': step, **means, 'learning_rate': learning_rate, 'steps_per_second': rate}
        if skipped := len(self._window) - len(finite):
            row['not_finite'] = skipped
        if not finite:
            row['total'] = math.nan
        self._window, self._start = [], time.perf_counter()
        self._write(LOSSES_FILE, row, 'losses')
        self._bar.update(self._task, description=f'loss {row["total"]:.3f}')
        if not self._console.is_terminal:
            left = round((self._steps - step) / rate)
            clock = f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'
            self._print(f'step {step} of {self._steps}, loss {row["total"]:.3f}, {rate:.2f} steps/s, {clock} left')

    def validation(self, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """Write the metrics of one validation, see `ValidationResult`. best: whether it is the best so far."""
        self._write(VALIDATION_FILE, {'step': step, **metrics}, 'validation')
        only = _SHOWN_METRICS if 'AP' in metrics else tuple(metrics)
        sources: dict[str, list[str]] = {}
        for name, value in metrics.items():
            source, _, metric = name.rpartition('/')
            if metric in only:
                sources.setdefault(source, []).append(f'{metric} {value:.3f}')
        shown = '; '.join(f'{source + ": " if source else ""}{", ".join(each)}' for source, each in sources.items())
        remark = 'the start' if step == 0 else 'the best so far' if best else ''
        self._print(f'validation at step {step}{f" ({remark})" if remark else ""}: {shown}')

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Add an image (H, W, 3) uint8 BGR to TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, np.ascontiguousarray(image[..., ::-1]), step, dataformats='HWC')

    def _write(self, file: str, row: Mapping[str, float], group: str) -> None:
        with naming(self._out / file), (self._out / file).open('a') as lines:
            lines.write(json.dumps(row) + '\n')
        if self._board is not None:
            for name, value in row.items():
                if name != 'step':
                    self._board.add_scalar(f'{group}/{name}', value, row['step'])

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _keep_rows(file: Path, step: int) -> None:
    """Keep only the rows up to a step, and none at step 0."""
    if step == 0:
        file.unlink(missing_ok=True)
    elif file.is_file():
        # the last line may be incomplete if the process was killed
        whole = [line for line in file.read_text().splitlines() if line.endswith('}')]
        write_whole(file, ''.join(f'{line}\n' for line in whole if json.loads(line)['step'] <= step))


def _tensorboard(folder: Path, step: int, console: Console) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        console.print('TensorBoard is not installed (pip install tensorboard): writing no TensorBoard files')
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
