"""How images travel between processes: the Fast DDS profile of this package, and advice when they do not arrive.

The default transports of Fast DDS lose large best-effort images; the profile sends them through shared memory. Imports
no ROS.
"""

from __future__ import annotations

import os
from pathlib import Path

from vis_ros.ros.share import share_file
from vis_ros.ros.shared_memory import FOLDER, free_bytes, remove_stale_segments

SEGMENT_BYTES = 67 << 20
"""What a process with config/fastdds_shm.xml takes of the shared memory."""
SMALL_SEGMENT_BYTES = 17 << 20
"""What a process with config/fastdds_shm_small.xml takes."""

_PROCESSES = 3
"""A camera, the node and a viewer."""
_OLD_VARIABLE, _VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
_FILES_IN_WORKING_DIRECTORY = ('DEFAULT_FASTRTPS_PROFILES.xml', 'DEFAULT_FASTDDS_PROFILES.xml')
_OWN_FILES = ('fastdds_shm.xml', 'fastdds_shm_small.xml')
_BUILTIN, _LOCALHOST = 'FASTDDS_BUILTIN_TRANSPORTS', 'ROS_LOCALHOST_ONLY'


def use_shared_memory(*, sends_images: bool = True) -> None:
    """Give this process the profile, unless the user has chosen transports, and remove stale segments.

    Args:
        sends_images: False for a process that receives images and publishes small messages only.
    """
    if not uses_fast_dds():
        return
    remove_stale_segments()
    file = profile(sends_images=sends_images)
    if file is not None and not choice_of_user():
        os.environ.update(dict.fromkeys(variables(), str(file)))


def uses_fast_dds() -> bool:
    """Whether the middleware is Fast DDS, which is the default of ROS 2."""
    return os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps')


def choice_of_user() -> str:
    """What in the environment chooses the transports, '' if nothing but a profile of this package does."""
    for name in (_BUILTIN, _VARIABLE, _OLD_VARIABLE):
        value = os.environ.get(name, '')
        if value and Path(value).name not in _OWN_FILES:
            return f'{name}={value}'
    if os.environ.get(_LOCALHOST) == '1' and os.environ.get('ROS_DISTRO') == 'humble':
        return f'{_LOCALHOST}=1'  # it restricts the transports of Humble itself; those of a profile would stay open
    return next((name for name in _FILES_IN_WORKING_DIRECTORY if Path(name).is_file()), '')


def variables() -> tuple[str, ...]:
    """The environment variables that name the profile: Fast DDS 2 (Humble, Jazzy) has another one than Fast DDS 3
    (Kilted, Lyrical), which warns about the old one. Both if the version cannot be seen.
    """
    shares = [Path(prefix) / 'share' for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)]
    libraries = {'fastrtps': _OLD_VARIABLE, 'fastdds': _VARIABLE}
    found = tuple(name for library, name in libraries.items() if any((share / library).is_dir() for share in shares))
    return found or tuple(libraries.values())


def profile(*, sends_images: bool = True) -> Path | None:
    """The profile whose segments fit into the free shared memory; None if none does."""
    free = free_bytes()
    large, small = _OWN_FILES
    if sends_images and free >= _PROCESSES * SEGMENT_BYTES:
        return share_file(f'config/{large}')
    return share_file(f'config/{small}') if free >= SMALL_SEGMENT_BYTES else None


def advice() -> str:
    """What to do where large best-effort images do not arrive."""
    chosen, middleware = choice_of_user(), os.environ.get('RMW_IMPLEMENTATION', '')
    if not uses_fast_dds():
        return f'Check that the publisher uses {middleware} too, and that it is set up for large messages'
    if chosen.startswith((_BUILTIN, _LOCALHOST)):
        return (
            f'{chosen} was chosen, with which large best-effort images are lost. Unset it for the publisher and the '
            'node, or use compressed images'
        )
    if chosen.endswith('.xml') and not Path(chosen.partition('=')[2] or chosen).is_file():
        return f'The profile of {chosen} does not exist: correct or unset the variable'
    if chosen:
        return (
            f'{chosen} chooses the transports: give it a shared-memory segment that is larger than an image, as in '
            'config/fastdds_shm.xml of vis_ros, for the publisher and the node'
        )
    own = profile()
    if own is None:
        return (
            f'{FOLDER} has only {free_bytes() >> 20} MiB free, too little for shared memory. In Docker: --shm-size=1g '
            'or --ipc=host'
        )
    names = ' and '.join(variables())
    return f'Large best-effort images need shared memory at their publisher: start it with {names} set to {own}'


def exports() -> str:
    """The shell commands that give the profile to a camera driver; '' if none fits."""
    file = profile()
    return '' if file is None else '; '.join(f'export {name}={file}' for name in variables())
