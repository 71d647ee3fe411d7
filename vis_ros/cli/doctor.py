"""`vis-ros doctor`: checks the installation, and shows what will run where and how to fix what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console
from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.engines.tensorrt.library import FLAVOURS
from vis_ros.extras import EXTRAS
from vis_ros.networks.named_weights import WEIGHTS, path_of

_REQUIRED = ('numpy', 'cv2', 'openvino', 'safetensors', 'rosbags', 'mcap', 'pycocotools')
_DISTRIBUTIONS = {'cv2': 'opencv-python-headless'}
"""Module -> the distribution that provides it, if it has another name."""

_SEGMENT_BYTES = 64 << 20
"""Shared memory of one ROS process, as set in config/fastdds_shm.xml."""
_ROS_PROCESSES = 3
"""A camera, the node, and one more."""

_LABELS = {'good': '[green]ok', 'absent': '[dim]-', 'weak': '[yellow]!', 'bad': '[red]missing'}


@dataclass(frozen=True)
class Check:
    """The result of one check: a row of the table that `vis-ros doctor` prints.

    Attributes:
        subject: what was checked.
        state: 'good', 'absent' (optional and not installed), 'weak' (works, but has a problem) or 'bad' (required, but
            missing or broken).
        value: what was found.
        hint: what to do about it; '' if there is nothing to do.
    """

    subject: str
    state: Literal['good', 'absent', 'weak', 'bad']
    value: str
    hint: str = ''


def doctor() -> None:
    """Check the installation, and show what runs where. Exits with status 1 if something required is missing."""
    with console.status('checking'):
        checks = run_checks()
    table = Table(show_header=False)
    for check in checks:
        text = Text(check.value, overflow='fold')
        if check.hint:
            text.append(f'\n{check.hint}', style='yellow')
        table.add_row(Text.from_markup(_LABELS[check.state]), check.subject, text)
    console.print(table)
    if any(check.state == 'bad' for check in checks):
        raise typer.Exit(1)


def run_checks() -> list[Check]:
    """Run all checks. A check that raises an exception is reported as 'bad', and the others still run."""
    groups: tuple[Callable[[], Iterator[Check]], ...] = (_python, _packages, _ros, _gpu, _weights, _shared_memory)
    checks: list[Check] = []
    for group in groups:
        try:
            checks.extend(group())
        except Exception as error:
            checks.append(Check(group.__name__.lstrip('_'), 'bad', f'{type(error).__name__}: {error}'))
    return checks


# --- Python and its packages ------------------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    is_supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    hint = '' if is_supported else 'the ROS 2 wheels are for Python 3.10 to 3.13'
    yield Check('Python', 'good' if is_supported else 'weak', f'{platform.python_version()}, {sys.executable}', hint)
    yield Check('processor', 'good', f'{os.cpu_count()} cores, {platform.machine()}')


def _packages() -> Iterator[Check]:
    for module in _REQUIRED:
        yield _package(module, 'bad', f'reinstall vis_ros, or: pip install {_DISTRIBUTIONS.get(module, module)}')
    for module in EXTRAS['torch']:
        hint = f'for the engine torch and for training: pip install {" ".join(EXTRAS["torch"])}'
        yield _package(module, 'absent', hint if module == 'torch' else '')
    for _, modules in FLAVOURS.values():
        yield _tensorrt(modules)


def _package(module: str, state_if_missing: Literal['bad', 'absent'], hint: str) -> Check:
    try:
        imported = importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # modules that load shared libraries raise any of these
        is_installed = importlib.util.find_spec(module) is not None
        value = f'installed, but cannot be imported: {error}' if is_installed else 'not installed'
        return Check(module, state_if_missing, value, hint)
    version = getattr(imported, '__version__', '') or importlib.metadata.version(module)
    return Check(module, 'good', str(version))


def _tensorrt(modules: tuple[str, ...]) -> Check:
    """One flavour of TensorRT. It is only imported if there is a GPU: without one, this can end the process."""
    installed = [module for module in modules if importlib.util.find_spec(module) is not None]
    if not installed:
        return Check(modules[-1], 'absent', 'not installed')
    if nvidia_gpus():
        return _package(installed[0], 'absent', '')
    try:
        version = importlib.metadata.version(installed[0])
    except importlib.metadata.PackageNotFoundError:
        version = 'unknown version'
    return Check(installed[0], 'good', f'{version}, not loaded because there is no GPU')


# --- ROS --------------------------------------------------------------------------------------------------------------


def _ros() -> Iterator[Check]:
    try:
        rclpy = importlib.import_module('rclpy')
    except ImportError as error:
        hint = 'source the setup file of a ROS 2 distribution, or: pip install ros-kilted-rclpy'
        yield Check('rclpy', 'bad', str(error), hint)
        return
    has_wheels = (Path(sys.prefix) / 'share' / 'ament_index').is_dir() and 'ROS_DISTRO' not in os.environ
    distribution = os.environ.get('ROS_DISTRO') or ('kilted, from wheels' if has_wheels else 'unknown distribution')
    yield Check('rclpy', 'good', f'{distribution}, {Path(str(rclpy.__file__)).parent}')
    yield _middleware()
    try:
        importlib.import_module('vis_ros.msg').InstanceMaskArray()
        yield Check('vis_ros.msg', 'good', 'InstanceMaskArray')
    except Exception as error:
        hint = 'the messages are generated by the build: colcon build, or pip install .'
        yield Check('vis_ros.msg', 'bad', f'{type(error).__name__}: {error}', hint)


def _middleware() -> Check:
    from vis_ros.ros.share import share_file

    name = importlib.import_module('rclpy.utilities').get_rmw_implementation_identifier()
    if not name.startswith('rmw_fastrtps'):
        return Check('middleware', 'good', name)
    profile = os.environ.get('FASTDDS_DEFAULT_PROFILES_FILE') or os.environ.get('FASTRTPS_DEFAULT_PROFILES_FILE')
    if profile is None:
        value = f'{name}; the programs of vis_ros use the profile {share_file("config/fastdds_shm.xml")}'
        return Check('middleware', 'good', value, 'set FASTDDS_DEFAULT_PROFILES_FILE to it for your camera driver too')
    if not Path(profile).is_file():
        hint = 'Fast DDS then uses its default transports, which lose best-effort images'
        return Check('middleware', 'weak', f'{name}; the profile {profile} does not exist', hint)
    return Check('middleware', 'good', f'{name}, profile {profile}')


# --- hardware and models ----------------------------------------------------------------------------------------------


def _gpu() -> Iterator[Check]:
    gpus = nvidia_gpus()
    if gpus:
        yield Check('GPU', 'good', ', '.join(gpus))
    elif shutil.which('nvidia-smi'):
        hint = 'check the output of nvidia-smi, and CUDA_VISIBLE_DEVICES'
        yield Check('GPU', 'weak', 'an NVIDIA driver is installed, but reports no GPU', hint)
    else:
        yield Check('GPU', 'absent', 'none: the network runs on the CPU')


def _weights() -> Iterator[Check]:
    for name, row in WEIGHTS.items():
        if path_of(name).is_file():
            yield _run_weights(
                name, f'delete {path_of(name)} and download it again' if row.url else 'reinstall vis_ros'
            )
        elif not row.url:
            yield Check(f'weights {name}', 'bad', f'{path_of(name)} is missing', 'reinstall vis_ros')


def _run_weights(name: str, hint: str) -> Check:
    """Load weights and run them. hint: what to do if that fails."""
    from vis_ros.engines.loading import load_engine

    try:
        engine = load_engine(path_of(name))
        milliseconds = engine.warm_up()
    except Exception as error:
        return Check(f'weights {name}', 'bad', f'{type(error).__name__}: {error}', hint)
    info = engine.describe()
    model = f'{info.model}, {info.parameters / 1e6:.1f} M parameters, {len(engine.class_names)} classes'
    size = f'{info.input_size[1]}x{info.input_size[0]}'
    speed = f'runs on {info.engine}, {info.device}, {info.precision}, {size}: {milliseconds:.0f} ms per image'
    return Check(f'weights {name}', 'good', f'{model}; {speed}', info.note)


def _shared_memory() -> Iterator[Check]:
    folder = Path('/dev/shm')
    if not folder.is_dir():
        yield Check('shared memory', 'weak', 'there is no /dev/shm', 'images then use UDP and may be lost')
        return
    usage = shutil.disk_usage(folder)
    value = f'{usage.free / 2**20:.0f} of {usage.total / 2**20:.0f} MiB free in {folder}'
    if usage.free >= _ROS_PROCESSES * _SEGMENT_BYTES:
        yield Check('shared memory', 'good', value)
        return
    hint = (
        f'each ROS process uses {_SEGMENT_BYTES >> 20} MiB. In Docker: --shm-size=1g. Killed processes leave theirs '
        'behind: stop all ROS processes, then run: rm /dev/shm/*fastdds_*'
    )
    yield Check('shared memory', 'weak', value, hint)
