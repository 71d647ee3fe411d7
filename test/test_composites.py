"""Synthetic videos of images and objects so plain that the labels can be read from the pixels."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vis_ros.synthetic.appearance import Appearance
from vis_ros.synthetic.composite_video import Background, CompositeVideo, MovingObject, Visibility
from vis_ros.synthetic.composites import CompositeConfig, CompositeVideos
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.layered_image import LayeredImage, blur_along
from vis_ros.synthetic.motion import CameraMotion, ObjectMotion, Pose, Wave
from vis_ros.synthetic.object_crop import ObjectCrop, crop_object

SIZE = (72, 128)
SWITCHES = (
    *('speed', 'growth', 'turn', 'spin', 'shear', 'tilt', 'mirror', 'absence', 'meeting', 'standing', 'same_class'),
    *('duplicate', 'empty', 'pan', 'zoom', 'roll', 'shake', 'motion_blur', 'object_light', 'light', 'shadow', 'noise'),
    *('blur', 'compression', 'depth'),
)
PLAIN = CompositeConfig(**{name: 0.0 for name in SWITCHES}, feather=False, still=0.0)


class PlainImages:
    """Images of one color, each with a labeled red square."""

    def __init__(self, color=0, square=True, count=3):
        self.color, self.square, self.count = color, square, count

    def __len__(self):
        return self.count

    def frame(self, index):
        image = np.full((120, 160, 3), self.color, np.uint8)
        mask = np.zeros((1, 120, 160), bool)
        mask[0, 30 + 5 * index : 80, 50:110] = True
        image[mask[0]] = (0, 0, 200)
        found = int(self.square)
        if not found:
            image[:] = self.color
        ids = np.ones(found, np.int32)
        return LabeledFrame(image, ids, ids * 5, mask[:found], np.zeros(found, bool))


class Disc:
    """A disc of one gray value, with a crop of its own at each phase if it has several."""

    extent = 60.0

    def __init__(self, class_id=0, gray=255):
        self.class_id, self.gray = class_id, gray

    def crop(self, phase):
        coverage = np.zeros((60, 60), np.uint8)
        cv2.circle(coverage, (30, 30), 29, 255, -1)
        found = crop_object(np.full((60, 60, 3), self.gray, np.uint8), coverage, (0, 0), self.class_id)
        assert found is not None
        return found


class Blinker(Disc):
    """A disc whose gray value is its phase."""

    def crop(self, phase):
        return Disc(self.class_id, int(100 + phase % 100)).crop(0)


def make(config=PLAIN, objects=None, pictures=None, size=SIZE, **changes):
    return CompositeVideos(
        pictures or PlainImages(), objects or [Disc(k) for k in range(6)], size, replace(config, **changes)
    )


def same(one, other):
    for name in ('image', 'object_ids', 'class_ids', 'masks', 'pasted'):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.ignored is None) == (other.ignored is None)
    if one.ignored is not None:
        np.testing.assert_array_equal(one.ignored, other.ignored)


@pytest.fixture(scope='module')
def videos():
    return make(CompositeConfig(objects=(2, 6)))


def test_frames_depend_only_on_seed_and_time(videos):
    wanted = [(seed, time) for seed in range(4) for time in (0, 17, 60)]
    frames = {key: videos.video(key[0]).frame(key[1]) for key in wanted}
    again = pickle.loads(pickle.dumps(make(CompositeConfig(objects=(2, 6)))))
    for seed, time in reversed(wanted):
        same(again.video(seed).frame(time), frames[seed, time])
    assert any((frames[0, 0].image != frames[1, 0].image).ravel())
    assert any((frames[0, 0].image != frames[0, 17].image).ravel())


def test_labels_are_consistent(videos):
    shown, ignored = 0, 0
    for seed in range(12):
        video = videos.video(seed)
        class_of = {}
        for time in (0, 20, 40, 79):
            frame = video.frame(time)
            assert frame.image.shape == (*SIZE, 3) and frame.image.dtype == np.uint8
            assert frame.masks.sum(0).max(initial=0) <= 1
            assert len(set(frame.object_ids.tolist())) == len(frame)
            for number, kind, mask in zip(frame.object_ids, frame.class_ids, frame.masks, strict=True):
                assert mask.sum() >= videos.config.visibility.min_pixels
                assert class_of.setdefault(int(number), int(kind)) == kind
            if frame.ignored is not None:
                assert not (frame.ignored & frame.masks.any(0)).any()
                ignored += 1
            shown += len(frame)
            for box, mask in zip(frame.boxes().astype(int), frame.masks, strict=True):
                y, x = np.nonzero(mask)
                assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert shown > 60 and ignored > 0


MOVING = {
    **{
        'speed': 1.0,
        'growth': 0.3,
        'turn': 0.5,
        'spin': 0.5,
        'shear': 0.2,
        'tilt': 0.25,
        'mirror': 0.5,
        'absence': 0.7,
    },
    **{'meeting': 0.5, 'standing': 0.5, 'pan': 1.0, 'zoom': 0.3, 'roll': 0.1, 'shake': 1.0},
}


def test_masks_are_the_pixels_that_the_image_shows():
    videos = make(objects=[Disc(0)], **MOVING)
    compared = 0
    for seed in range(8):
        for time in (0, 30, 60):
            frame = videos.video(seed).frame(time)
            unknown = np.zeros(SIZE, bool) if frame.ignored is None else frame.ignored
            white = (frame.image[..., 0] > 100) & ~unknown
            np.testing.assert_array_equal(frame.masks[frame.pasted].any(0), white)
            red = (frame.image[..., 2] > 100) & (frame.image[..., 0] < 100) & ~unknown
            own = frame.masks[~frame.pasted].any(0)
            assert np.count_nonzero(red ^ own) <= 0.06 * red.sum() + 6
            assert frame.class_ids[~frame.pasted].tolist() == [5] * int(own.any())
            compared += int(white.sum() > 0) + int(red.sum() > 0)
    assert compared > 35


def test_soft_outline_is_half_inside():
    frame = make(replace(PLAIN, objects=(1, 1)), pictures=PlainImages(square=False), feather=True).video(0).frame(0)
    np.testing.assert_array_equal(frame.masks.any(0), frame.image[..., 0] >= 128)


def test_nothing_changes_over_time_when_all_is_switched_off():
    for seed in range(4):
        video = make().video(seed)
        first = video.frame(0)
        assert len(first) > 1
        for time in (1, 33, 79):
            same(video.frame(time), first)


def over_time(value):
    """The largest change of a value over time among all objects of some videos."""

    def measure(videos):
        changes = [
            np.ptp([value(moving.motion, time) for time in range(0, 80, 4)], axis=0).max()
            for seed in range(10)
            for moving in videos.video(seed).moving_objects
        ]
        return float(np.max(changes))

    return measure


def camera_change(videos):
    matrices = [[videos.video(seed).camera.matrix(time) for time in range(0, 80, 3)] for seed in range(6)]
    return float(np.max(np.ptp(matrices, axis=1)))


def outside(videos):
    count = 0
    for seed in range(10):
        for moving in videos.video(seed).moving_objects:
            places = np.array([moving.motion.position(time) for time in range(80)])
            count += bool(((places < 0) | (places > SIZE[::-1])).any())
    return count


def meetings(videos):
    count = 0
    for seed in range(10):
        places = np.array([moving.motion.position(40) for moving in videos.video(seed).moving_objects])
        gaps = np.linalg.norm(places[:, None] - places, axis=2) + 1000 * np.eye(len(places))
        count += int((gaps < 1e-6).any())
    return count


def all_alike(what):
    return lambda videos: sum(
        len({what(moving) for moving in videos.video(seed).moving_objects}) == 1 for seed in range(10)
    )


def empty_frames(videos):
    return sum(len(videos.video(seed).frame(time)) == 0 for seed in range(6) for time in range(0, 80, 8))


def gray_change(videos):
    """Of a background pixel over time."""
    return float(
        max(np.ptp([videos.video(seed).frame(time).image.max() for time in range(0, 80, 20)]) for seed in range(6))
    )


def gray_spread(videos):
    """Number of gray values other than those of background and object."""
    return max(len(np.unique(videos.video(seed).frame(10).image)) for seed in range(6)) - 2


def mirrored(videos):
    return sum(moving.motion.pose(0).scale_x < 0 for seed in range(5) for moving in videos.video(seed).moving_objects)


def standing(videos):
    return sum(moving.anchor is not None for seed in range(5) for moving in videos.video(seed).moving_objects)


def shutter(videos):
    return sum(videos.video(seed).appearance.shutter for seed in range(6))


def order(videos):
    """How much more often than by chance the larger of two objects is behind: 0 = never more, 1 = always."""
    behind = []
    for seed in range(60):
        sides = [moving.motion.scale * moving.source.extent for moving in videos.video(seed).moving_objects]
        behind += [back > front for index, back in enumerate(sides) for front in sides[index + 1 :]]
    return max(0, round(2 * float(np.mean(behind)) - 1, 1))


BLANK = PlainImages(square=False)
GRAY = PlainImages(90, square=False)
EFFECTS = {
    'speed': (1.0, over_time(lambda motion, time: motion.position(time)), {}),
    'growth': (0.3, over_time(lambda motion, time: motion.pose(time).scale_y), {}),
    'turn': (0.3, over_time(lambda motion, time: motion.pose(time).angle), {}),
    'spin': (1.0, over_time(lambda motion, time: motion.pose(time).angle), {}),
    'shear': (0.2, over_time(lambda motion, time: motion.pose(time).shear), {}),
    'tilt': (0.2, over_time(lambda motion, time: motion.pose(time).tilt_x), {}),
    'mirror': (0.5, mirrored, {}),
    'absence': (0.8, outside, {}),
    'meeting': (1.0, meetings, {}),
    'standing': (0.5, standing, {}),
    'same_class': (1.0, all_alike(lambda moving: moving.source.class_id), {}),
    'duplicate': (1.0, all_alike(lambda moving: id(moving.source)), {}),
    'empty': (1.0, empty_frames, {'pictures': BLANK}),
    'pan': (1.0, camera_change, {}),
    'zoom': (0.3, camera_change, {}),
    'roll': (0.1, camera_change, {}),
    'shake': (1.0, camera_change, {}),
    'motion_blur': (0.5, shutter, {}),
    'object_light': (0.3, gray_spread, {'pictures': BLANK, 'objects': [Disc(0, 120)]}),
    'light': (0.3, gray_change, {'pictures': GRAY, 'objects': [Disc(0, 20)]}),
    'shadow': (0.5, gray_spread, {'pictures': GRAY, 'objects': [Disc(0, 200)]}),
    'noise': (6.0, gray_spread, {'pictures': GRAY}),
    'blur': (1.5, gray_spread, {'pictures': BLANK}),
    'compression': (1.0, gray_spread, {'pictures': BLANK}),
    'depth': (1.0, order, {}),
    'feather': (True, gray_spread, {'pictures': BLANK}),
}


def test_every_switch_has_an_effect_to_test():
    assert set(EFFECTS) == {*SWITCHES, 'feather'}


@pytest.mark.parametrize('name', EFFECTS)
def test_each_effect_can_be_switched_off(name):
    value, measure, setting = EFFECTS[name]
    config = replace(PLAIN, objects=(2, 5))
    assert measure(make(config, **setting)) == 0
    assert measure(make(config, **setting, **{name: value})) > 0


GEOMETRY = {
    'speed': over_time(lambda motion, time: motion.position(time)),
    'growth': over_time(lambda motion, time: motion.pose(time).scale_y),
    'turn': over_time(lambda motion, time: motion.pose(time).angle),
    'shear': over_time(lambda motion, time: motion.pose(time).shear),
    'tilt': over_time(lambda motion, time: motion.pose(time).tilt_x),
    'mirror': mirrored,
    'standing': standing,
    'motion_blur': shutter,
    'pan': camera_change,
    'depth': order,
}
ALL_ON = CompositeConfig(objects=(2, 5), still=0.0, spin=0.0, absence=0.0, meeting=0.0, zoom=0.0, roll=0.0, shake=0.0)


@pytest.mark.parametrize('name', GEOMETRY)
def test_switching_one_effect_off_leaves_the_others_on(name):
    videos = make(ALL_ON, objects=[Disc(k) for k in range(6)], **{name: 0.0})
    assert GEOMETRY[name](videos) == 0
    assert all(measure(videos) > 0 for other, measure in GEOMETRY.items() if other != name)


@pytest.mark.parametrize('name', ['object_light', 'light', 'shadow', 'noise', 'blur', 'compression', 'motion_blur'])
def test_effects_of_light_and_recording_move_nothing(name):
    """With or without them: the same objects at the same places, but other pixels."""
    config = CompositeConfig(objects=(2, 5))
    pictures = PlainImages(90, square=False)
    strong = {'blur': 4.0} if name == 'blur' else {}
    with_it, without = (make(config, pictures=pictures, **setting) for setting in (strong, {name: 0.0}))
    changed = 0
    for seed in range(6):
        one, other = with_it.video(seed).frame(20), without.video(seed).frame(20)
        np.testing.assert_array_equal(one.object_ids, other.object_ids)
        if name != 'motion_blur':  # it smears the outline too
            np.testing.assert_array_equal(one.masks, other.masks)
        changed += int((one.image != other.image).any())
    assert changed > 0


def test_camera_can_stand_still():
    moving = {'pan': 1.0, 'zoom': 0.3, 'roll': 0.1, 'shake': 1.0}
    assert camera_change(make(**moving, still=1.0)) == 0 < camera_change(make(**moving))


def test_camera_never_leaves_the_background():
    config = CompositeConfig(pan=1.0, zoom=0.4, roll=0.15, shake=1.5, still=0.0)
    videos = make(config)
    corners = np.array([[0, 0, 1], [SIZE[1], 0, 1], [0, SIZE[0], 1], [SIZE[1], SIZE[0], 1]]).T
    for seed in range(20):
        video = videos.video(seed)
        for time in range(0, 80, 5):
            x, y, _ = np.linalg.inv(video.camera.matrix(time)) @ corners
            assert x.min() >= -0.5 and x.max() <= 160.5 and y.min() >= -0.5 and y.max() <= 120.5


def test_objects_move_smoothly():
    """No jumps: the change of speed between frames stays small relative to the frame."""
    videos = make(CompositeConfig(spin=0.0))
    for seed in range(20):
        for moving in videos.video(seed).moving_objects:
            places = np.array([moving.motion.position(time) for time in range(80)])
            assert np.abs(np.diff(places, 2, axis=0)).max() < 0.06 * SIZE[1]


def test_sizes_and_numbers_of_objects():
    videos = make(replace(PLAIN, objects=(3, 5)), sizes=(0.2, 0.5))
    counts, sides = [], []
    for seed in range(40):
        moving_objects = videos.video(seed).moving_objects
        counts.append(len(moving_objects))
        sides += [moving.motion.scale * moving.source.extent / SIZE[0] for moving in moving_objects]
    assert set(counts) == {3, 4, 5}
    assert min(sides) >= 0.2 - 1e-6 and max(sides) <= 0.5 + 1e-6 and np.median(sides) == pytest.approx(0.316, rel=0.15)


def test_small_crops_are_not_enlarged_beyond_the_limit():
    videos = make(size=(360, 640), sizes=(0.5, 0.6), enlargement=1.5)
    assert {moving.motion.scale for moving in videos.video(0).moving_objects} == {1.5}


def compose(*moving_objects, background=None, appearance=None, camera=None):
    image = np.zeros((*SIZE, 3), np.uint8)
    background = background or Background(image, np.zeros(SIZE, np.int16), {}, {})
    camera = camera or CameraMotion(SIZE, SIZE, (Wave(),) * 6)
    return CompositeVideo(SIZE, background, camera, moving_objects, appearance or Appearance(feather=False), 0)


def disc_at(object_id, x, y, scale=0.5, source=None, **motion):
    waves = (Wave(),) * 7
    return MovingObject(object_id, source or Disc(object_id), ObjectMotion((x, y), scale, waves, **motion))


def test_later_objects_hide_earlier_ones():
    video = compose(disc_at(1, 40, 36), disc_at(2, 55, 36))
    frame = video.frame(0)
    back, front = frame.masks
    assert front.sum() == pytest.approx(np.pi * 14.5**2, rel=0.05)
    assert 0.4 * front.sum() < back.sum() < 0.75 * front.sum()
    reverse = compose(disc_at(2, 55, 36), disc_at(1, 40, 36)).frame(0)
    assert reverse.object_ids.tolist() == [1, 2] and reverse.masks[0].sum() == front.sum()


@pytest.mark.parametrize(
    ('gap', 'labeled'),
    [(30, True), (11, True), (2.5, False), (0, False)],
)
def test_hardly_visible_objects_are_ignored(gap, labeled):
    frame = compose(disc_at(1, 40, 36), disc_at(2, 40 + gap, 36)).frame(0)
    assert (1 in frame.object_ids) == labeled
    left = (frame.image[..., 0] > 100) & ~frame.masks.any(0)
    if labeled or gap == 0:
        assert frame.ignored is None and not left.any()
    else:
        np.testing.assert_array_equal(frame.ignored, left)


@pytest.mark.parametrize('window', [0.75, 0.5])
@pytest.mark.parametrize(('width', 'labeled'), [(0.5, True), (0.1, False)])
def test_hardly_visible_objects_of_the_background_are_ignored(window, width, labeled):
    """A square of the background, cut off by the image border, at any zoom of the camera."""
    owner = np.zeros((144, 256), np.int16)
    camera = CameraMotion((144, 256), SIZE, (Wave(),) * 6, window=window)
    left = round(128 - 128 * window)
    owner[60:84, left - round(24 * (1 - width)) : left + round(24 * width)] = 1
    background = Background(np.zeros((144, 256, 3), np.uint8), owner, {1: 4}, {1: 576.0})
    video = compose(background=background, camera=camera)
    video.visibility = Visibility(min_pixels=1, large=1.0)
    frame = video.frame(0)
    assert len(frame) == labeled and (frame.ignored is None) == labeled


def test_object_that_leaves_the_frame_is_labeled_until_little_of_it_is_left():
    areas = {}
    for x in (0, -7, -11.5, -16):
        frame = compose(disc_at(1, x, 36)).frame(0)
        areas[x] = int(frame.masks.sum()) if len(frame) else (0 if frame.ignored is None else -1)
    assert areas[0] > areas[-7] > 40 and areas[-11.5] == -1 and areas[-16] == 0


def test_large_objects_are_labeled_however_little_of_them_is_inside():
    frame = compose(disc_at(1, 0, 36, scale=20, source=Disc(1))).frame(0)
    assert len(frame) == 1 and frame.masks.sum() == SIZE[0] * SIZE[1]
    assert frame.masks.sum() < Visibility().min_share * np.pi * 580**2


def test_sources_get_their_phase():
    moving = replace(disc_at(1, 60, 36, source=Blinker(1)), phase=10.0, rate=0.5)
    video = compose(moving)
    assert [int(video.frame(time).image.max()) for time in (0, 1, 20)] == [110, 110, 120]


def test_standing_objects_move_with_the_camera():
    camera = CameraMotion((120, 160), SIZE, (Wave(((1.0, 100.0, 0.0),)), *(Wave(),) * 5), window=0.7)
    image = np.zeros((120, 160, 3), np.uint8)
    image[60, 90] = 255
    background = Background(cv2.dilate(image, np.ones((3, 3))), np.zeros((120, 160), np.int16), {}, {})
    at_start = camera.matrix(0) @ (90.5, 60.5, 1)
    moving = disc_at(1, at_start[0], at_start[1], scale=0.3)
    standing = compose(replace(moving, anchor=np.linalg.inv(camera.matrix(0))), background=background, camera=camera)
    floating = compose(moving, background=background, camera=camera)
    for time in (5, 10, 20):
        x, y, _ = camera.matrix(time) @ (90.5, 60.5, 1)
        box = standing.frame(time).boxes()[0]
        assert (box[0] + box[2]) / 2 == pytest.approx(x, abs=1) and (box[1] + box[3]) / 2 == pytest.approx(y, abs=1)
        assert floating.frame(time).boxes()[0] == pytest.approx(floating.frame(0).boxes()[0])
    assert abs(x - at_start[0]) > 10


def test_moving_objects_are_blurred_along_their_path():
    fast = disc_at(1, 60, 36, scale=0.5, velocity=(16.0, 0.0))
    sharp, blurred = (compose(fast, appearance=Appearance(shutter=time)).frame(0).image[..., 0] for time in (0.0, 0.5))
    between = lambda values: np.count_nonzero((values > 12) & (values < 243))  # noqa: E731
    assert between(blurred[36]) >= between(sharp[36]) + 10
    assert abs(between(blurred[:, 60]) - between(sharp[:, 60])) <= 2
    assert blurred.sum() == pytest.approx(float(sharp.sum()), rel=0.03)


def test_motion_blur_averages_along_a_line():
    image = np.zeros((41, 41, 1), np.uint8)
    image[20, 20] = 255
    blurred = blur_along(np.repeat(image, 3, 2), 8, 0)[..., 0].astype(int)
    assert blurred.sum() == pytest.approx(255, abs=12)
    columns = np.flatnonzero(blurred[20])
    assert columns[0] + columns[-1] == 40 and 6 <= columns[-1] - columns[0] <= 9
    assert not blurred[:20].any() and not blurred[21:].any()
    np.testing.assert_array_equal(blur_along(image, 1.0, 0.5), image)


def test_pose_places_the_crop():
    pose = Pose(x=50, y=30, scale_x=-2, scale_y=2, angle=np.pi / 2)
    assert pose.matrix((20, 40)) @ (20, 10, 1) == pytest.approx([50, 30, 1])
    assert pose.matrix((20, 40)) @ (40, 10, 1) == pytest.approx([50, -10, 1])  # mirrored, then turned


def test_shrinking_does_not_alias():
    """A chessboard of single pixels becomes uniformly gray."""
    pixels = np.zeros((128, 128, 4), np.uint8)
    pixels[::2, ::2, :3] = pixels[1::2, 1::2, :3] = 255
    pixels[..., 3] = 255
    layers = LayeredImage((40, 40))
    layers.draw(ObjectCrop(pixels, 0), 1, Pose(20, 20, 0.21, 0.21).matrix((128, 128)))
    middle = layers.image[12:28, 12:28, 0]
    assert middle.std() < 12 and middle.mean() == pytest.approx(127, abs=10)


def test_large_backgrounds_are_reduced():
    class Large(PlainImages):
        def frame(self, index):
            frame = super().frame(index)
            return LabeledFrame(
                np.repeat(np.repeat(frame.image, 4, 0), 4, 1),
                frame.object_ids,
                frame.class_ids,
                np.repeat(np.repeat(frame.masks, 4, 1), 4, 2),
                frame.pasted,
            )

    background = make(pictures=Large()).background(0)
    assert background.image.shape == (122, 163, 3)
    assert background.areas[1] == pytest.approx(50 * 60, rel=0.06)


def test_missing_backgrounds_or_objects_are_rejected():
    with pytest.raises(ValueError, match='background'):
        CompositeVideos(PlainImages(count=0), [Disc()], SIZE)
    with pytest.raises(ValueError, match='object'):
        CompositeVideos(PlainImages(), [], SIZE)


@pytest.mark.parametrize('deviation', [1.0, 4.0, 12.0])
def test_noise_has_the_given_deviation(deviation):
    gray = np.full((200, 300, 3), 128, np.uint8)
    appearance = Appearance(noise=deviation)
    noisy = appearance.record(gray, 3, 0).astype(float)
    assert noisy.std() == pytest.approx(deviation, rel=0.08) and noisy.mean() == pytest.approx(128, abs=0.6)
    assert (appearance.record(gray, 4, 0) != noisy).any() and (appearance.record(gray, 3, 0) == noisy).all()
