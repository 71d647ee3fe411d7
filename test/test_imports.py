"""Every module can be imported, with the libraries that are installed."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    'torch': ('vis_ros.engines.torch', 'vis_ros.networks', 'vis_ros.propagation', 'vis_ros.training', 'vis_ros.export'),
}
"""Libraries that are optional -> the modules that need them."""
PROGRAMS = ('.__main__', 'vis_ros.cli.start')

IMPORT_ALL = """
import importlib, sys
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f'{name}: {type(error).__name__}: {error}')
print(chr(10).join(failed))
"""


def test_every_module_can_be_imported() -> None:
    absent = tuple(prefix for library, names in HEAVY.items() if find_spec(library) is None for prefix in names)
    found = [module.name for module in pkgutil.walk_packages([str(ROOT / 'vis_ros')], 'vis_ros.')]
    names = [name for name in found if not name.startswith(absent) and not name.endswith(PROGRAMS)]
    assert len(names) > 100
    result = subprocess.run([sys.executable, '-c', IMPORT_ALL, *names], capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == [], result.stdout
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(find_spec('torch') is None, reason='needs torch')
@pytest.mark.parametrize('program', ['vis_ros.engines.torch.torch_engine', 'vis_ros.training.trainer'])
def test_waiting_threads_of_torch_sleep_in_every_program_and_the_user_has_the_last_word(program: str) -> None:
    """As the OpenMP library of torch itself reports it when it is loaded."""
    for given, policy in (('', 'PASSIVE'), ('ACTIVE', 'ACTIVE')):
        environment = {name: value for name, value in os.environ.items() if name != 'OMP_WAIT_POLICY'}
        environment |= {'OMP_DISPLAY_ENV': 'TRUE', **({'OMP_WAIT_POLICY': given} if given else {})}
        command = [sys.executable, '-c', f'import {program}']
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=ROOT)
        assert f"OMP_WAIT_POLICY = '{policy}'" in result.stderr, result.stderr
