"""Measure all that vis_ros does on a GPU, step by step, in at most eight minutes.

    python -m benchmarks.gpu [--weights demo] [--out gpu.json] [--minutes 8] [--again STEP]

The file is written after each step; a second call runs only what is missing. Each step runs in a process of its own,
so that one that hangs or crashes costs only itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import NEED_NO_GPU, STEPS
from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.file_digest import sha256_of
from vis_ros.networks.named_weights import resolve

_LEAST_S = 15.0
"""A step is not started with less time left than this."""


def main() -> None:
    """Run the steps and print one table. Exit status 1 if a step has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', default='demo')
    parser.add_argument('--out', type=Path, default=Path('gpu.json'))
    parser.add_argument('--minutes', type=float, default=8.0, help='maximum time of all steps together')
    parser.add_argument('--again', nargs='*', default=[], choices=[*STEPS], help='steps to run although they are done')
    arguments = parser.parse_args()
    digest = sha256_of(resolve(arguments.weights))
    results = _read(arguments.out, digest)
    end = time.monotonic() + 60 * arguments.minutes
    for name in STEPS:
        if results['steps'].get(name, {}).get('state') != 'done' or name in arguments.again:
            print(f'{name} ...', file=sys.stderr, flush=True)
            results['steps'][name] = _run(name, arguments.weights, end - time.monotonic())
            arguments.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    _print(results)
    sys.exit(any(step['state'] == 'failed' for step in results['steps'].values()))


def _read(path: Path, digest: str) -> dict[str, Any]:
    """What an earlier call has measured with the same weights."""
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        if results.get('weights_sha256') == digest:
            return results
    except FileNotFoundError:
        pass
    return {'weights_sha256': digest, 'steps': {}}


def _run(name: str, weights: str, left_s: float) -> dict[str, Any]:
    """State, reason, seconds and rows of a step."""
    if name not in NEED_NO_GPU and not nvidia_gpus():
        return {'state': 'not run', 'reason': 'there is no NVIDIA GPU'}
    if left_s < _LEAST_S:
        return {'state': 'not run', 'reason': 'no time left: call again'}
    command = [sys.executable, '-m', 'benchmarks.gpu.steps', name, weights]
    started = time.monotonic()
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=left_s, check=False)
    except subprocess.TimeoutExpired:
        return {'state': 'not run', 'reason': f'not finished after {left_s:.0f} s'}
    seconds = round(time.monotonic() - started, 1)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or [f'ended with status {finished.returncode}'])[-1]
        return {'state': 'failed', 'reason': reason, 'seconds': seconds}
    return {'state': 'done', 'seconds': seconds, 'rows': json.loads(finished.stdout.splitlines()[-1])}


def _print(results: dict[str, Any]) -> None:
    for name, step in results['steps'].items():
        reason = f': {step["reason"]}' if 'reason' in step else f' in {step["seconds"]} s'
        print(f'{name}: {step["state"]}{reason}')
        for label, value in step.get('rows', {}).items():
            print(f'    {label:52} {value}')


if __name__ == '__main__':
    main()
