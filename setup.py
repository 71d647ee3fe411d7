"""Build of the pip wheel: the CMakeLists.txt that colcon uses, run over the ROS 2 wheels.

Everything else about the distribution stands in pyproject.toml. Where ROS 2 is installed, build with colcon instead.
"""

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path(__file__).resolve().parent
PYTHON_DIRECTORY = f'lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages'


class CMakeBuild(build_ext):
    """Install the CMake project into a staging prefix and hand its files to the wheel."""

    def run(self) -> None:
        stage = Path(self.build_temp).resolve() / 'stage'
        shutil.rmtree(stage, ignore_errors=True)
        cmake_install(Path(self.build_temp).resolve() / 'cmake', stage)

        package = Path(self.build_lib) / 'vis_ros'
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(stage / PYTHON_DIRECTORY / 'vis_ros', package, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.rmtree(stage / PYTHON_DIRECTORY)
        self.distribution.data_files = data_files(stage)

    def get_outputs(self) -> list[str]:
        return [str(path) for path in Path(self.build_lib, 'vis_ros').rglob('*') if path.is_file()]


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


def data_files(prefix: Path) -> list[tuple[str, list[str]]]:
    """Every file below `prefix`, as setuptools wants it: (directory in the environment, files)."""
    files = defaultdict(list)
    for path in sorted(prefix.rglob('*')):
        if path.is_file():
            files[str(path.parent.relative_to(prefix))].append(str(path.relative_to(SOURCE)))
    return list(files.items())


# The extension without sources marks the wheel as bound to its platform; CMakeBuild makes the real ones.
setup(packages=[], ext_modules=[Extension('vis_ros._messages', sources=[])], cmdclass={'build_ext': CMakeBuild})
