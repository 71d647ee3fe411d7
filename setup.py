"""Build of the pip wheel. Everything else about the distribution stands in pyproject.toml.

With the ROS 2 wheels among the build requirements this is the CMakeLists.txt that colcon uses, run over them: the wheel
has the messages and serves the node. Without them the messages cannot be generated: the wheel has only the Python
files, for any platform, and serves replay, evaluate and data. Where ROS 2 is installed, build with colcon instead.
"""

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().parent
PYTHON_DIRECTORY = f'lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages'
HAS_ROS = all(find_spec(module) is not None for module in ('cmake', 'ninja', 'rosidl_generator_py'))


class CMakeBuild(build_ext):
    """Install the CMake project into a staging prefix and hand its files to the wheel."""

    def run(self) -> None:
        stage = Path(self.build_temp).resolve() / 'stage'
        shutil.rmtree(stage, ignore_errors=True)
        cmake_install(Path(self.build_temp).resolve() / 'cmake', stage)

        copy_package(stage / PYTHON_DIRECTORY / 'vis_ros', Path(self.build_lib))
        shutil.rmtree(stage / PYTHON_DIRECTORY)
        self.distribution.data_files = data_files(stage, '')

    def get_outputs(self) -> list[str]:
        return files_of_package(self.build_lib)


class PlainBuild(build_py):
    """Copy the Python package, without messages."""

    def run(self) -> None:
        print('vis_ros: the ROS 2 wheels are not installed here, so the messages are not generated. The wheel serves')
        print('vis_ros: replay, evaluate and data; node, demo and replay-live need one that is built with ROS 2.')
        copy_package(SOURCE / 'vis_ros', Path(self.build_lib))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return files_of_package(self.build_lib)


def copy_package(package: Path, build: Path) -> None:
    """Replace `build/vis_ros` by a copy of a package."""
    shutil.rmtree(build / 'vis_ros', ignore_errors=True)
    shutil.copytree(package, build / 'vis_ros', ignore=shutil.ignore_patterns('__pycache__'))


def files_of_package(build: str) -> list[str]:
    """The files of the package that is built."""
    return [str(path) for path in Path(build, 'vis_ros').rglob('*') if path.is_file()]


def cmake_install(build: Path, prefix: Path) -> None:
    """Configure, build and install the CMake project into `prefix`."""
    import cmake
    import ninja
    import rosidl_generator_py

    cmake_program = Path(cmake.CMAKE_BIN_DIR) / 'cmake'
    ros_prefix = Path(rosidl_generator_py.__file__).resolve().parents[4]
    configure: list[str | Path] = [
        cmake_program,
        *('-S', SOURCE, '-B', build, '-G', 'Ninja'),
        f'-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / "ninja"}',
        '-DCMAKE_BUILD_TYPE=Release',
        f'-DCMAKE_INSTALL_PREFIX={prefix}',
        f'-DCMAKE_PROJECT_INCLUDE={SOURCE / "cmake" / "pip_wheels.cmake"}',
        f'-DCMAKE_PREFIX_PATH={ros_prefix}',
        f'-DPYTHON_INSTALL_DIR={PYTHON_DIRECTORY}',
        f'-DPython3_EXECUTABLE={sys.executable}',
        '-DVIS_ROS_PYTHON=/usr/bin/env python3',  # a wheel is installed elsewhere
        '-DBUILD_TESTING=OFF',
    ]
    environment = os.environ | {'AMENT_PREFIX_PATH': str(ros_prefix)}
    subprocess.run(configure, check=True, env=environment)
    subprocess.run([cmake_program, '--build', build, '--target', 'install'], check=True, env=environment)


def data_files(folder: Path, target: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder`, as setuptools wants it: (directory below `target` in the environment, files)."""
    files = defaultdict(list)
    for path in sorted(folder.rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            directory = Path(target, path.parent.relative_to(folder))
            files[str(directory)].append(str(path.relative_to(SOURCE)))
    return list(files.items())


if HAS_ROS:
    # The extension without sources marks the wheel as bound to its platform; CMakeBuild makes the real ones.
    setup(packages=[], ext_modules=[Extension('vis_ros._messages', sources=[])], cmdclass={'build_ext': CMakeBuild})
else:
    # From msg/ rosbags learns the messages that replay writes into a bag.
    shared = [row for name in ('config', 'msg') for row in data_files(SOURCE / name, f'share/vis_ros/{name}')]
    setup(packages=['vis_ros'], data_files=shared, cmdclass={'build_py': PlainBuild})
