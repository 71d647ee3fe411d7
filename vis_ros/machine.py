"""The machine that measurements were made on: processor, memory, GPU, load and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import vis_ros

_LIBRARIES = ('numpy', 'opencv', 'onnx', 'openvino', 'rclpy', 'rmw_fastrtps', 'tensorrt', 'torch')
_MIB = 1 << 20

_FEATURES = (
    'avx2',
    'avx_vnni',
    'avx512f',
    'avx512_vnni',
    'avx512_bf16',
    'amx_bf16',
    'amx_int8',
    'asimd',
    'i8mm',
    'bf16',
)
"""Processor features, by their Linux names, that decide how fast a network runs and in which precision."""


def describe_machine() -> dict[str, Any]:
    """Processor, memory, GPU, current load average, and versions of the libraries that matter; plain JSON types."""
    information = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    return {
        'processor': _processor(information),
        'processor_features': _features(information),
        'cores': len(os.sched_getaffinity(0)),
        'memory_mib': os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // _MIB,
        'gpu': _ask_gpu('name,driver_version'),
        'load_average_before': round(os.getloadavg()[0], 2),
        'system': f'{platform.system()} {platform.release()}',
        'versions': {'vis_ros': vis_ros.__version__, 'python': platform.python_version(), **_versions()},
    }


def gpu_memory_mib() -> float | None:
    """Used memory of the first NVIDIA GPU, by all processes; None without a GPU."""
    text = _ask_gpu('memory.used')
    return float(text.split()[0]) if text else None


def peak_memory_mib() -> float:
    """Peak memory of this process (VmHWM)."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    found = re.search(r'VmHWM:\s+(\d+) kB', status)
    assert found is not None, 'Linux reports VmHWM'
    return int(found[1]) / 1024


def _processor(information: str) -> str:
    found = re.search(r'model name\s*: (.+)', information)
    return found[1] if found else platform.machine()


def _features(information: str) -> list[str]:
    found = re.search(r'(?:flags|Features)\s*: (.+)', information)
    return [name for name in _FEATURES if found and name in found[1].split()]


def _ask_gpu(fields: str) -> str:
    """Fields of the first GPU from nvidia-smi; '' without a GPU."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return ''
    command = [program, f'--query-gpu={fields}', '--format=csv,noheader']
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.partition('\n')[0] if result.returncode == 0 else ''


def _versions() -> dict[str, str]:
    """Version of each installed distribution whose name starts with one of _LIBRARIES."""
    found = {}
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata['Name'] or '').lower().replace('-', '_')
        if name.startswith(_LIBRARIES):
            found[name] = distribution.version
    return dict(sorted(found.items()))
