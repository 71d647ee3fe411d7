"""Image files: recordings and annotations find the same files, in the same order."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vis_ros.datasets.frame_images import ImageFile, bare, images_by_stem
from vis_ros.image_files import IMAGE_SUFFIXES, natural_order
from vis_ros.recordings.folder_recording import images_in
from vis_ros.recordings.opening import open_recording


def test_digits_compare_as_numbers() -> None:
    names = ['b', 'frame10', 'Frame2', 'frame2b', '10', '9', 'frame']
    assert sorted(names, key=natural_order) == ['9', '10', 'b', 'frame', 'Frame2', 'frame2b', 'frame10']


@pytest.mark.parametrize('suffix', [*IMAGE_SUFFIXES, '.PNG'])
def test_every_image_file_is_a_frame_and_has_an_image_as_truth(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 1 if suffix == '.pgm' else 3), np.uint8)
    written_as = '.jpg' if suffix in ('.jfif', '.jpe') else suffix
    for number in (10, 9):
        (tmp_path / f'{number}{suffix}').write_bytes(cv2.imencode(written_as, pixels)[1])
    (tmp_path / 'notes.txt').touch()
    files = images_in(tmp_path)
    assert [file.stem for file in files] == ['9', '10'] and list(images_by_stem(tmp_path).values()) == files
    frames = list(open_recording(tmp_path))
    assert len(frames) == len(open_recording(tmp_path)) == 2
    for frame, file in zip(frames, files, strict=True):
        np.testing.assert_array_equal(frame.image, ImageFile(file)())
    assert bare(files[0].name) == '9'
