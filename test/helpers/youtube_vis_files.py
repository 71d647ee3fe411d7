"""A YouTube-VIS file with its images, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE = (60, 80)


def square(x: int, y: int = 10, side: int = 20) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def write_youtube_vis(folder: Path, **changes: Any) -> Path:
    """Two videos of three frames; a dog that moves by 10 pixels, and a cat in the last two frames of the second."""
    content: dict[str, Any] = {
        'videos': [
            {'id': n, 'width': 80, 'height': 60, 'length': 3, 'file_names': [f'v{n}/{t}.jpg' for t in range(3)]}
            for n in (1, 2)
        ],
        'categories': [{'id': 7, 'name': 'cat'}, {'id': 3, 'name': 'dog'}],
        'annotations': [
            {'id': 1, 'video_id': 1, 'category_id': 3, 'segmentations': [square(5), square(15), square(25)]},
            {'id': 2, 'video_id': 2, 'category_id': 3, 'segmentations': [square(5), square(15), square(25)]},
            {'id': 9, 'video_id': 2, 'category_id': 7, 'segmentations': [None, square(50), square(50, 20)]},
        ],
    }
    for n in (1, 2):
        (folder / 'JPEGImages' / f'v{n}').mkdir(parents=True, exist_ok=True)
        for t in range(3):
            image = np.full((*SIZE, 3), 20, np.uint8)
            image[10:30, 5 + 10 * t : 25 + 10 * t] = 200
            cv2.imwrite(str(folder / 'JPEGImages' / f'v{n}' / f'{t}.jpg'), image)
    path = folder / 'instances.json'
    path.write_text(json.dumps(content | changes))
    return path
