"""Find configuration and launch files, wherever the package is installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def share_file(relative: str) -> Path:
    """The path of a shared file, such as `config/vis.yaml`.

    In a checkout the file is beside the package; colcon and pip install it in share/vis_ros of the prefix of the
    package.

    Raises:
        FileNotFoundError: the file is not installed.
    """
    checkout = _PACKAGE.parent / relative
    installed = [prefix / 'share' / 'vis_ros' / relative for prefix in _PACKAGE.parents]
    for path in (checkout, *installed):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'{relative} is neither beside {_PACKAGE} nor in share/vis_ros of a prefix above it: reinstall vis_ros with '
        'pip or colcon'
    )
