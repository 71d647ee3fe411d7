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
from contextlib import suppress
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
from vis_ros.ros import transport
from vis_ros.ros.environment import find_wheels
from vis_ros.ros.shared_memory import FOLDER, free_bytes, remove_stale_segments

_REQUIRED = ('numpy', 'cv2', 'openvino', 'safetensors', 'rosbags', 'mcap', 'pycocotools')
_DISTRIBUTIONS = {'cv2': 'opencv-python-headless'}
"""Module -> the distribution that provides it, if it has another name."""

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
        table.add_row(Text.from_markup(_LABELS[check.state]), check.subject, Text(check.value, overflow='fold'))
    console.print(table)
    for check in checks:
        if check.hint:  # not in the table, which breaks commands into pieces that cannot be copied
            console.print(Text(f'{check.subject}: {check.hint}', style='yellow'), soft_wrap=True)
    if any(check.state == 'bad' for check in checks):
        raise typer.Exit(1)


def run_checks() -> list[Check]:
    """Run all checks. A check that raises an exception is reported as 'bad', and the others still run."""
    groups: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _packages,
        _ros,
        _shared_memory,
        _images,
        _gpu,
        _weights,
    )
    checks: list[Check] = []
    for group in groups:
        try:
            checks.extend(group())
        except Exception as error:
            checks.append(Check(group.__name__.lstrip('_'), 'bad', f'{type(error).__name__}: {error}'))
    return checks


# --- Python and its packages ------------------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    is_supported = (3, 10) <= sys.version_info[:2] <= (3, 14)
    hint = '' if is_supported else 'vis_ros is tested with Python 3.10 to 3.14'
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
    find_wheels()
    try:
        rclpy = importlib.import_module('rclpy')
    except ImportError as error:
        is_wanted = importlib.util.find_spec('vis_ros.msg') is not None  # without messages it was built without ROS
        hint = 'for node and demo: source the setup file of a ROS 2 distribution, or: pip install vis_ros[ros]'
        yield Check('rclpy', 'bad' if is_wanted else 'absent', str(error), hint)
        return
    distribution = os.environ.get('ROS_DISTRO') or _wheels() or 'unknown distribution'
    yield Check('rclpy', 'good', f'{distribution}, {Path(str(rclpy.__file__)).parent}')
    yield _middleware()
    try:
        importlib.import_module('vis_ros.msg').InstanceMaskArray()
        yield Check('vis_ros.msg', 'good', 'InstanceMaskArray')
    except Exception as error:
        hint = 'the messages are generated by the build: colcon build, or pip install .'
        yield Check('vis_ros.msg', 'bad', f'{type(error).__name__}: {error}', hint)


def _wheels() -> str:
    """The distribution whose wheels are installed, '' if none are."""
    for name in ('jazzy', 'kilted'):
        with suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(f'ros-{name}-rclpy')
            return f'{name}, from wheels'
    return ''


def _middleware() -> Check:
    name = importlib.import_module('rclpy.utilities').get_rmw_implementation_identifier()
    profile = os.environ.get('FASTDDS_DEFAULT_PROFILES_FILE') or os.environ.get('FASTRTPS_DEFAULT_PROFILES_FILE')
    if not name.startswith('rmw_fastrtps'):
        return Check('middleware', 'good', name)
    if profile and not Path(profile).is_file():
        return Check('middleware', 'weak', f'{name}; the profile {profile} does not exist', transport.advice())
    chosen = transport.choice_of_user()
    return Check('middleware', 'good', f'{name}; transports: {chosen or transport.profile() or "the defaults"}')


def _images() -> Iterator[Check]:
    """Whether images arrive from another process: first as a camera driver sends them that was started from this shell,
    then with the profile of this package.
    """
    if importlib.util.find_spec('rclpy') is None:
        return
    from vis_ros.node.image_arrival import measure_arrival

    plain = measure_arrival(camera_has_profile=False)
    if plain.is_good:
        yield Check('images', 'good', str(plain))
        return
    better = measure_arrival(camera_has_profile=True)
    if better.is_good:
        value = f'from a camera driver started in this shell: {plain}; with the profile of vis_ros: {better}'
        yield Check('images', 'weak', value, f'before you start the camera driver: {transport.exports()}')
    elif not better.sent:
        hint = better.errors.strip().rpartition('\n')[2] or (
            'DDS discovery fails: check the firewall, and that the network interface (also lo) allows multicast'
        )
        yield Check('images', 'weak', 'two processes on this machine do not find each other', hint)
    else:
        yield Check('images', 'weak', str(better), transport.advice())


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
    stale = remove_stale_segments()
    free = free_bytes()
    value = f'{free >> 20} MiB free in {FOLDER}'
    if stale:
        value += f'; removed {stale >> 20} MiB that killed processes had left behind'
    if transport.profile() is None:
        needed = 3 * transport.SMALL_SEGMENT_BYTES >> 20
        hint = f'images need at least {needed} MiB. In Docker: --shm-size=1g or --ipc=host'
        yield Check('shared memory', 'weak', value, hint)
    elif free < 3 * transport.SEGMENT_BYTES:
        hint = 'enough for images of 1280x720. For larger ones, in Docker: --shm-size=1g or --ipc=host'
        yield Check('shared memory', 'good', value, hint)
    else:
        yield Check('shared memory', 'good', value)
