"""`pytest --quick`: only the tests that need no neural network, no ROS graph and no other process. Tables are wide."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

os.environ['COLUMNS'] = '240'  # before any console is made, some of which live as long as the process

_HEAVY = re.compile(
    r'\b(torch|openvino|onnx\w*|rclpy|subprocess|trackeval|typer|load_engine|TorchEngine|RectangleEngine|Scene\w*|'
    r'CompositeVideos|vis_ros\.(load|cli|evaluation)|robustness\.fuzz|helpers\.(rectangles|tiny_\w+|fake_cuda))\b|mark\.slow'
)
"""What a test file mentions that takes long to import or to run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--quick', action='store_true', help='run only tests without neural networks, ROS and processes')


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.name.startswith('test_') and collection_path.suffix == '.py'
    if not config.getoption('--quick'):
        return None
    if collection_path.name == 'ros':
        return True
    return True if is_test and _HEAVY.search(collection_path.read_text(encoding='utf-8')) else None
