"""The procedural scene: its events, as seen in its ground truth."""

import itertools

import cv2
import numpy as np
import pytest

from vis_ros.synthetic.motion import Wave
from vis_ros.synthetic.scene import Scene, SceneVideos, ScriptedMotion
from vis_ros.synthetic.shapes import ShapeObject, TexturedImages

FRAMES = 120


@pytest.fixture(scope='module', params=[0, 1, 2])
def run(request):
    """The scene of a seed with all its frames."""
    scene = Scene(request.param, (144, 256), FRAMES, class_id=7)
    return scene, [scene.frame(index) for index in range(len(scene))]


def seen(run, name):
    """(FRAMES,) bool: is the object labeled; and its boxes, NaN where it is not."""
    scene, frames = run
    (number,) = [identity for identity, what in scene.object_names.items() if what == name]
    boxes = np.full((FRAMES, 4), np.nan)
    for time, frame in enumerate(frames):
        for box in frame.boxes()[frame.object_ids == number]:
            boxes[time] = box
    return ~np.isnan(boxes[:, 0]), boxes


def spans(flags):
    """Lengths of the runs of equal values, with the value: [(True, 30), (False, 12), ...]."""
    edges = [0, *(np.flatnonzero(np.diff(flags)) + 1), len(flags)]
    return [(bool(flags[low]), high - low) for low, high in itertools.pairwise(edges)]


@pytest.mark.parametrize('name', ['hides behind the pillar', 'hides behind the large one'])
def test_objects_hide_for_long_and_return(run, name):
    visible, boxes = seen(run, name)
    assert [value for value, _ in spans(visible)] == [True, False, True]
    assert all(length >= FRAMES / 10 for _, length in spans(visible))
    # Inside the picture all the time: it is hidden, not gone.
    assert np.nanmin(boxes[:, :2]) > 0 and np.nanmax(boxes[:, 2]) < 256 and np.nanmax(boxes[:, 3]) < 144


def test_one_hides_behind_another_object(run):
    visible, boxes = seen(run, 'hides behind the large one')
    _, large = seen(run, 'large one')
    last = np.flatnonzero(~visible)[0] - 1
    center = (boxes[last, :2] + boxes[last, 2:]) / 2
    assert (large[last, :2] < center).all() and (center < large[last, 2:]).all()


def test_one_hides_behind_the_pillar(run):
    visible, boxes = seen(run, 'hides behind the pillar')
    _, frames = run
    before, after = np.flatnonzero(~visible)[0] - 1, np.flatnonzero(~visible)[-1] + 1
    center = ((boxes[before, :2] + boxes[before, 2:] + boxes[after, :2] + boxes[after, 2:]) / 4).astype(int)
    middle = frames[(before + after) // 2]
    assert not middle.masks[:, center[1], center[0]].any()


def test_one_leaves_the_image_and_returns(run):
    visible, boxes = seen(run, 'leaves and returns')
    assert [value for value, _ in spans(visible)] == [True, False, True]
    assert (~visible).sum() >= FRAMES / 6
    before, after = np.flatnonzero(~visible)[0] - 1, np.flatnonzero(~visible)[-1] + 1
    assert boxes[before, 0] == 0 and boxes[after, 0] == 0  # it goes and comes over the left border


def test_its_twin_stays_and_looks_the_same(run):
    visible, _ = seen(run, 'twin that stays')
    assert visible.all()
    scene, frames = run
    twins = [n for n, name in scene.object_names.items() if name in ('twin that stays', 'leaves and returns')]
    colors = [frames[0].image[frames[0].masks[frames[0].object_ids == n][0]].mean(0) for n in twins]
    assert np.abs(colors[0] - colors[1]).max() < 25


def test_two_cross_and_one_covers_the_other(run):
    _, left = seen(run, 'crosses to the left')
    visible, right = seen(run, 'crosses to the right')
    centers = [(boxes[:, 0] + boxes[:, 2]) / 2 for boxes in (left, right)]
    assert centers[0][0] > centers[1][0] + 100 and centers[0][-1] < centers[1][-1] - 100
    height = np.minimum(left[:, 3], right[:, 3]) - np.maximum(left[:, 1], right[:, 1])
    width = np.minimum(left[:, 2], right[:, 2]) - np.maximum(left[:, 0], right[:, 0])
    assert ((height > 5) & (width > 5)).any() or not visible.all()


def test_labels_are_consistent(run):
    scene, frames = run
    for frame in frames[::10]:
        assert frame.image.shape == (144, 256, 3)
        assert frame.masks.sum(0).max() <= 1 and (frame.masks.sum((1, 2)) >= 40).all()
        assert (frame.class_ids == 7).all() and set(frame.object_ids.tolist()) <= set(scene.object_names)
    assert set.union(*(set(frame.object_ids.tolist()) for frame in frames)) == set(scene.object_names)


def test_objects_and_background_have_texture(run):
    _, frames = run
    frame = frames[0]
    background = ~frame.masks.any(0)
    for region in (*frame.masks, background):
        assert frame.image[region].std(0).max() > 8


def test_background_moves(run):
    _, frames = run
    first, last = (frames[time].image[:20, :30].astype(int) for time in (0, FRAMES - 1))
    assert np.abs(first - last).mean() > 2


def test_frames_depend_only_on_seed_and_index():
    one, other = Scene(3, (90, 160), 50), Scene(3, (90, 160), 50)
    frames = [one.frame(index).image for index in (0, 20, 49)]
    for index, image in zip((49, 20, 0), reversed(frames), strict=True):
        np.testing.assert_array_equal(other.frame(index).image, image)
    assert (Scene(4, (90, 160), 50).frame(0).image != frames[0]).mean() > 0.5


@pytest.mark.parametrize('index', [-1, 50])
def test_frames_beyond_the_run_do_not_exist(index):
    with pytest.raises(IndexError, match=str(index)):
        Scene(0, (90, 160), 50).frame(index)


def test_scene_of_one_frame_is_rejected():
    with pytest.raises(ValueError, match='1'):
        Scene(frames=1)


def test_scripted_motion_goes_through_its_points_without_overshoot():
    times, places = (0.0, 10.0, 30.0, 40.0), ((0.0, 5.0), (50.0, 5.0), (60.0, 20.0), (20.0, 20.0))
    motion = ScriptedMotion(times, places, 1.0, (Wave(),) * 4)
    for time, place in zip(times, places, strict=True):
        assert motion.position(time) == pytest.approx(place)
    way = np.array([motion.position(time) for time in np.linspace(-5, 45, 501)])
    assert way.min(0) == pytest.approx([0, 5]) and way.max(0) == pytest.approx([60, 20])
    assert np.abs(np.diff(way, 2, axis=0)).max() < 0.2


def test_shapes_are_connected_and_have_their_stated_size():
    for seed in range(40):
        crop = ShapeObject(seed, 3).crop(0.0)
        solid = (crop.alpha >= 128).astype(np.uint8)
        assert cv2.connectedComponents(solid)[0] == 2
        _, _, width, height = cv2.boundingRect(solid)
        assert max(width, height) == pytest.approx(ShapeObject.extent, abs=8)
        assert not (solid[0].any() or solid[-1].any() or solid[:, 0].any() or solid[:, -1].any())
        assert crop.class_id == 3 and crop.image[solid > 0].std(0).max() > 4
    assert (ShapeObject(1, 0).crop(0).pixels == ShapeObject(1, 0).crop(9).pixels).all()
    assert (ShapeObject(1, 0).crop(0).pixels != ShapeObject(2, 0).crop(0).pixels).any()


def test_textured_images_have_no_objects():
    images = TexturedImages(3, (60, 100))
    assert len(images) == 3 and len(images.frame(2)) == 0
    assert images.frame(2).image.shape == (60, 100, 3) and images.frame(2).image.std() > 5


def test_scene_videos_are_training_data_of_one_class():
    videos = SceneVideos((72, 128), class_id=12, shapes=20, places=3)
    found = 0
    for seed in range(6):
        frame = videos.video(seed).frame(30)
        assert (frame.class_ids == 12).all() and frame.pasted.all()
        np.testing.assert_array_equal(videos.video(seed).frame(30).image, frame.image)
        found += len(frame)
    assert found >= 8


def test_pillars_in_scene_videos_hide_objects_and_are_not_labeled():
    videos = SceneVideos((72, 128), shapes=20, places=3)
    with_pillar = [
        video for video in map(videos.video, range(12)) if any(moving.object_id == 0 for moving in video.moving_objects)
    ]
    assert 0 < len(with_pillar) < 12
    for video in with_pillar:
        frame = video.frame(0)
        (pillar,) = [moving for moving in video.moving_objects if moving.object_id == 0]
        x = int(np.clip(pillar.motion.position(0)[0], 0, 127))
        in_front = video.moving_objects[-1] is pillar
        assert 0 not in frame.object_ids and not (in_front and frame.masks[:, 36, x].any())
