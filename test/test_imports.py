"""Every module can be imported, with the libraries that are installed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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
