"""Read many damaged files of every kind and print what happened: `make fuzz`.

    python -m robustness.fuzz [--share 0.1] [--only bags] [--seed 0]

Each kind runs in processes of its own, so that a crash or a hang ends that process only, and the peak memory is known.
The exit status is 1 if anything but reading and refusing happened.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from robustness.kind import Kind, LostWithoutAWordError
from robustness.kinds import KINDS

HANG_S = 300.0
"""A case that takes longer is a hang. The slowest ones compile a network, on a machine that may be busy."""

CASES_OF_A_PROCESS = 20
"""So that its memory is that of a few files, and not what the libraries keep of all before."""

READ, REFUSED, TRACEBACK, HANG, SILENT = 'read', 'refused', 'traceback', 'hang', 'silently wrong'
OUTCOMES = (READ, REFUSED, TRACEBACK, HANG, SILENT)
_BAD = (TRACEBACK, HANG, SILENT)


def run_case(kind: Kind, folder: Path, number: int, seed: int) -> tuple[str, str]:
    """Make and read one case in `folder`, which has the sound files in `sound`. Returns the outcome and its reason."""
    case = folder / f'case_{number}'
    case.mkdir()
    path = kind.make(folder / 'sound', case, random.Random(f'{kind.name} {seed} {number}'))
    try:
        kind.read(path)
    except LostWithoutAWordError as error:
        return SILENT, str(error)
    except (ValueError, OSError) as error:
        return (REFUSED, str(error)) if str(error).strip() else (TRACEBACK, f'{type(error).__name__} without a word')
    except BaseException:
        return TRACEBACK, traceback.format_exc()
    return READ, ''


def prepare(kind: Kind, folder: Path) -> None:
    """Make the sound files of a kind in `folder`/sound."""
    (folder / 'sound').mkdir()
    kind.prepare(folder / 'sound')


def _work(kind: Kind, folder: Path, first: int, count: int, seed: int) -> None:
    """In the process of a kind: one line of JSON for each case."""
    output = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for number in range(first, count):
        outcome, reason = run_case(kind, folder, number, seed)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps([number, outcome, reason, peak]), file=output, flush=True)


def _run_kind(kind: Kind, share: float, seed: int) -> tuple[Counter[str], int, list[str]]:
    """Outcomes, peak memory in MiB, and the bad cases in words."""
    count = max(1, round(kind.cases * share))
    outcomes: Counter[str] = Counter()
    peak, done, bad = 0, 0, []
    with tempfile.TemporaryDirectory(prefix='fuzz_') as name:
        prepare(kind, Path(name))
        while done < count:
            end = min(done + CASES_OF_A_PROCESS, count)
            command = [sys.executable, '-m', 'robustness.fuzz', '--work', kind.name, name, str(done), str(end)]
            with subprocess.Popen(
                [*command, '--seed', str(seed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as child:
                assert child.stdout is not None
                while done < end:
                    is_ready = select.select([child.stdout], [], [], HANG_S)[0]
                    line = child.stdout.readline() if is_ready else b''
                    if line:
                        number, outcome, reason, peak_now = json.loads(line)
                        peak = max(peak, peak_now)
                    else:
                        child.kill()
                        number, outcome = done, TRACEBACK if is_ready else HANG
                        reason = f'the process ended: {child.wait()}' if is_ready else ''
                    outcomes[outcome] += 1
                    done += 1
                    if outcome in _BAD:
                        bad.append(f'{kind.name} {number}: {outcome}: {reason}')
                    if not line:
                        break
    return outcomes, peak, bad


def main() -> None:
    """Run the kinds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--share', type=float, default=1.0)
    parser.add_argument('--only', default='')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work', nargs=4, metavar=('KIND', 'FOLDER', 'FIRST', 'COUNT'))
    arguments = parser.parse_args()
    if arguments.work:
        name, folder, first, count = arguments.work
        (kind,) = (each for each in KINDS if each.name == name)
        _work(kind, Path(folder), int(first), int(count), arguments.seed)
        return
    everything = []
    print(f'{"kind":20}{"cases":>7}' + ''.join(f'{each:>16}' for each in OUTCOMES) + f'{"peak MiB":>10}')
    for kind in KINDS:
        if arguments.only in kind.name:
            outcomes, peak, bad = _run_kind(kind, arguments.share, arguments.seed)
            counts = ''.join(f'{outcomes[each]:16}' for each in OUTCOMES)
            print(f'{kind.name:20}{sum(outcomes.values()):7}{counts}{peak:10}', flush=True)
            everything += bad
    for text in everything:
        print(f'\n{text}')
    sys.exit(bool(everything))


if __name__ == '__main__':
    main()
