"""`vis-ros data synth` as a process: JSON and bag have the same content, and the same seed gives the same files."""

import numpy as np
from test_cli_data import run

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.synthetic.scene import Scene

OPTIONS = ('--videos', '2', '--frames', '6', '--height', '96', '--width', '160', '--seed', '4')


def test_scenes_as_youtube_vis_and_as_a_bag(tmp_path):
    for out in ('a', 'b'):
        result = run('synth', tmp_path / out, *OPTIONS)
        assert result.returncode == 0, result.stderr
    files = sorted(path.relative_to(tmp_path / 'a') for path in (tmp_path / 'a').rglob('*') if path.is_file())
    assert len(files) == 12 + 3
    assert all((tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes() for file in files)
    as_json, as_bag = (open_annotations(tmp_path / 'a' / name) for name in ('instances.json', 'bag'))
    for seed, name in ((4, 'scene_0004'), (5, 'scene_0005')):
        (video,) = (video for video in as_json.videos if video.name == name)
        (recorded,) = (video for video in as_bag.videos if video.name == name)
        for index, (frame, message) in enumerate(zip(video, recorded, strict=True)):
            truth = Scene(seed, (96, 160), 6).frame(index)
            assert sorted(m['counts'] for m in frame.masks) == sorted(m['counts'] for m in message.masks)
            assert frame.stamp_ns == message.stamp_ns == 1_000_000_000 + index * 100_000_000
            covered = sum((decode(rle) for rle in frame.masks), np.zeros((96, 160), np.uint8))
            np.testing.assert_array_equal(covered, truth.masks.sum(0))
            np.testing.assert_array_equal(message.read_image(), truth.image)
            assert np.abs(frame.read_image().astype(int) - truth.image).mean() < 4, 'JPEG'


def test_wrong_options_are_refused(tmp_path):
    assert 'give both --images and --annotations' in run('synth', tmp_path / 'a', '--images', tmp_path).stderr
    (tmp_path / 'b' / 'bag').mkdir(parents=True)
    result = run('synth', tmp_path / 'b', *OPTIONS)
    assert result.returncode == 1 and 'already exists; give a new or empty folder' in result.stderr
    assert not (tmp_path / 'b' / 'instances.json').exists()
