"""The description of the machine, and the peak memory of a process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from vis_ros.machine import describe_machine

ROOT = Path(__file__).resolve().parents[1]


def test_peak_memory_is_that_of_the_process_and_stays():
    code = """
from vis_ros.machine import peak_memory_mib
before = peak_memory_mib()
block = bytearray(200 << 20)
full = peak_memory_mib()
del block
print(before, full, peak_memory_mib())
"""
    output = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, full, after = map(float, output.split())
    assert 195 < full - before < 220 and abs(after - full) < 1


def test_description_is_json_and_has_cores_and_versions():
    machine = json.loads(json.dumps(describe_machine()))
    assert machine['cores'] >= 1 and machine['processor'] and isinstance(machine['processor_features'], list)
    assert machine['versions']['numpy'] == np.__version__ and 'vis_ros' in machine['versions']
