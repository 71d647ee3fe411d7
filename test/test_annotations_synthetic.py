"""Made videos as annotated videos, against the scene itself."""

import cv2
import numpy as np
import pytest

from vis_ros.datasets.coco_rle import decode
from vis_ros.synthetic.coco_images import CocoDataset
from vis_ros.synthetic.scene import Scene
from vis_ros.synthetic.synthetic_video import FIRST_STAMP_NS, composites, scenes

SIZE = (96, 160)


def test_scenes_have_the_objects_of_the_scene():
    made = scenes(2, 12, SIZE, rate=8.0, seed=5)
    assert [video.name for video in made.videos] == ['scene_0005', 'scene_0006'] and made.class_names == ('shape',)
    for seed, video in zip((5, 6), made.videos, strict=True):
        scene = Scene(seed, SIZE, 12)
        frames = list(video)
        assert len(frames) == len(video) == 12
        for index, frame in enumerate(frames):
            truth = scene.frame(index)
            assert frame.stamp_ns == FIRST_STAMP_NS + index * 125_000_000
            assert (frame.index, frame.size) == (index, SIZE)
            assert (frame.ignored is None) == (truth.ignored is None)
            if frame.ignored is not None:
                np.testing.assert_array_equal(decode(frame.ignored), truth.ignored)
            np.testing.assert_array_equal(frame.read_image(), truth.image)
            assert frame.track_ids.tolist() == truth.object_ids.tolist() and set(frame.scores) <= {1.0}
            for rle, mask in zip(frame.masks, truth.masks, strict=True):
                np.testing.assert_array_equal(decode(rle), mask)


def test_a_video_can_be_read_twice():
    (video,) = scenes(1, 3, SIZE, rate=10.0, seed=0).videos
    first, second = ([frame.masks for frame in video] for _ in range(2))
    assert first == second and any(first)


@pytest.fixture
def dataset(tmp_path):
    """One image of a disc, as a COCO dataset."""
    image = np.full((120, 160, 3), 90, np.uint8)
    cv2.circle(image, (80, 60), 35, (0, 0, 255), cv2.FILLED)
    cv2.imwrite(str(tmp_path / 'disc.png'), image)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outline = np.stack([80 + 35 * np.cos(angles), 60 + 35 * np.sin(angles)], 1).ravel().tolist()
    (tmp_path / 'coco.json').write_text(
        '{"images": [{"id": 1, "file_name": "disc.png", "height": 120, "width": 160}],'
        ' "categories": [{"id": 7, "name": "disc", "supercategory": "thing"}],'
        f' "annotations": [{{"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 3848,'
        f' "bbox": [45, 25, 70, 70], "segmentation": [{outline}]}}]}}'
    )
    return CocoDataset(tmp_path, tmp_path / 'coco.json', classes='categories')


def test_composites_show_the_objects_of_the_data_set(dataset):
    made = composites(dataset, 2, 4, SIZE, rate=10.0, seed=3)
    frames = [frame for video in made.videos for frame in video]
    assert made.class_names == ('disc',) and len(frames) == 8
    pixels = np.concatenate([frame.read_image()[decode(rle) > 0] for frame in frames for rle in frame.masks])
    outside = np.concatenate([frame.read_image()[(sum(map(decode, frame.masks)) == 0)] for frame in frames])
    redness = [values[:, 2].mean() - values[:, 0].mean() for values in (pixels, outside)]
    assert redness[0] > 100 > 20 > redness[1]
