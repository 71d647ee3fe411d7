"""The place of the configuration and launch files, wherever the package lies."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def share_file(relative: str) -> Path:
    """The path of a shared file, such as `config/vis.yaml`.

    In a checkout the file lies beside the package; colcon and pip install it into share/vis_ros of the prefix that
    holds the package.

    Raises:
        FileNotFoundError: the installation does not have it.
    """
    checkout = _PACKAGE.parent / relative
    installed = [prefix / 'share' / 'vis_ros' / relative for prefix in _PACKAGE.parents]
    for path in (checkout, *installed):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'{relative} is neither beside {_PACKAGE} nor in share/vis_ros of a prefix above it: install vis_ros again '
        'with pip or colcon'
    )
