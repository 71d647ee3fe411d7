"""The pictures: what is painted, what is left alone, and whether a tag can be read."""

import itertools

import cv2
import numpy as np
import pytest

from vis_ros.instances import LOST, Instances
from vis_ros.visualization import VideoSheet, contact_sheet, draw_overlay, identity_color

CLASSES = ['cat', 'traffic light']


def one_object(image_size, roi, mask=None, track_id=7, class_id=0, score=0.87):
    x0, y0, x1, y1 = roi
    mask = np.ones((y1 - y0, x1 - x0), np.uint8) if mask is None else mask
    track_ids = None if track_id is None else [track_id]
    return Instances(image_size, [roi], [score], [class_id], [roi], [mask], track_ids=track_ids, class_names=CLASSES)


def relative_luminance(color):
    """WCAG 2.1 relative luminance of a BGR color."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (np.array(color) / 255)]
    return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]


def test_colors_of_neighboring_identities_lie_far_apart():
    for first in range(1, 60):
        for a, b in itertools.combinations(range(first, first + 6), 2):
            distance = np.linalg.norm(np.subtract(identity_color(a), identity_color(b)))
            assert distance > 60, (a, b)


def test_an_identity_keeps_its_color_wherever_it_is():
    image = np.full((200, 200, 3), 90, np.uint8)
    colors = []
    for roi in ([20, 60, 80, 120], [100, 90, 190, 180]):
        painted = draw_overlay(image, one_object(image.shape[:2], roi))
        colors.append(painted[(roi[1] + roi[3]) // 2, (roi[0] + roi[2]) // 2].tolist())
    assert colors[0] == colors[1] != [90, 90, 90]


def test_the_input_is_not_changed_and_nothing_outside_the_object_and_its_tag_is_touched():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (240, 320, 3), np.uint8)
    before = image.copy()
    painted = draw_overlay(image, one_object((240, 320), [100, 120, 160, 200]))
    np.testing.assert_array_equal(image, before)
    changed = np.argwhere((painted != image).any(2))
    assert changed[:, 0].min() > 90 and changed[:, 0].max() <= 201
    assert changed[:, 1].min() >= 98 and changed[:, 1].max() < 230


def test_the_fill_is_half_transparent_and_a_hole_stays_open():
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, 100:] = 255
    mask = np.ones((120, 120), np.uint8)
    mask[70:110, 70:110] = 0
    painted = draw_overlay(image, one_object((200, 200), [40, 60, 160, 180], mask))
    assert 0 < painted[100, 70].max() < 200, 'black below shows through'
    assert painted[100, 130].max() == 255 and painted[100, 130].min() > 100, 'white below shows through'
    np.testing.assert_array_equal(painted[150, 130], image[150, 130])


def test_the_outline_has_the_full_color_of_the_identity():
    image = np.zeros((200, 200, 3), np.uint8)
    painted = draw_overlay(image, one_object((200, 200), [40, 60, 160, 180], track_id=3))
    assert tuple(painted[179, 100].tolist()) == identity_color(3)
    assert tuple(painted[100, 159].tolist()) == identity_color(3)


@pytest.mark.parametrize('size', [(96, 128), (480, 640), (1080, 1920)])
@pytest.mark.parametrize('corner', ['top left', 'bottom right', 'whole'])
def test_a_tag_lies_whole_inside_the_image(size, corner):
    height, width = size
    roi = {
        'top left': [0, 0, 10, 10],
        'bottom right': [width - 10, height - 10, width, height],
        'whole': [0, 0, width, height],
    }[corner]
    color = identity_color(7)
    empty = np.zeros(((roi[3] - roi[1]), (roi[2] - roi[0])), np.uint8)  # no fill, no outline: only the tag is drawn
    canvas = np.full((height, width, 3), 77, np.uint8)
    painted = draw_overlay(canvas, one_object(size, roi, empty))
    tag = np.argwhere((painted != canvas).any(2))
    top, left = tag.min(0)
    bottom, right = tag.max(0)
    plate = painted[top : bottom + 1, left : right + 1]
    assert (plate != 77).any(2).all(), 'a rectangle'
    # An empty margin of plate on every side: nothing is cut off by the border of the image.
    for edge in (plate[0], plate[-1], plate[:, 0], plate[:, -1]):
        assert (edge == color).all()


def test_ink_stands_out_from_every_plate():
    for track_id in range(1, 120):
        canvas = np.full((200, 300, 3), 77, np.uint8)
        empty = np.zeros((60, 60), np.uint8)
        painted = draw_overlay(canvas, one_object((200, 300), [60, 80, 120, 140], empty, track_id))
        tag = painted[(painted != 77).any(2)]
        ink = max(tag, key=lambda pixel: abs(relative_luminance(pixel) - relative_luminance(identity_color(track_id))))
        light, dark = sorted((relative_luminance(ink), relative_luminance(identity_color(track_id))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 3, f'identity {track_id}: WCAG asks for a contrast of 3 for large text'


def test_tags_of_crowded_objects_do_not_cover_each_other():
    boxes = [[100, 100, 160, 160]] * 3
    masks = [np.zeros((60, 60), np.uint8)] * 3
    instances = Instances((300, 400), boxes, [0.5] * 3, [0, 1, 0], boxes, masks, track_ids=[1, 2, 3])
    together = draw_overlay(np.full((300, 400, 3), 77, np.uint8), instances)
    alone = sum(
        np.count_nonzero((draw_overlay(np.full((300, 400, 3), 77, np.uint8), one) != 77).any(2)) for one in instances
    )
    assert np.count_nonzero((together != 77).any(2)) == alone


def test_without_identities_the_color_follows_the_class():
    image = np.zeros((200, 200, 3), np.uint8)
    roi = [50, 60, 150, 160]
    cat, light = (draw_overlay(image, one_object((200, 200), roi, None, None, c)) for c in (0, 1))
    assert tuple(cat[159, 100].tolist()) == identity_color(1)
    assert tuple(light[159, 100].tolist()) == identity_color(2)


def test_an_unknown_class_and_an_empty_frame_are_drawn():
    image = np.zeros((100, 100, 3), np.uint8)
    assert draw_overlay(image, one_object((100, 100), [10, 40, 60, 90], class_id=5)).any()
    np.testing.assert_array_equal(draw_overlay(image, Instances.empty((100, 100))), image)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'\(50, 60\).*\(100, 100\)'):
        draw_overlay(np.zeros((50, 60, 3), np.uint8), Instances.empty((100, 100)))


def test_a_contact_sheet_has_every_image_in_its_place_at_the_right_width():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    images = [np.full((100 + 10 * i, 200, 3), color, np.uint8) for i, color in enumerate(colors)]
    sheet = contact_sheet(images, columns=3, width=900, captions=[f'frame {i}' for i in range(5)])
    assert sheet.shape[1] == 900
    cell = 900 // 3
    for index, color in enumerate(colors):
        found = np.argwhere((sheet == color).all(2))
        assert found[:, 1].min() // cell == found[:, 1].max() // cell == index % 3
        assert abs(np.ptp(found[:, 1]) + 1 - cell) < 12
        shape = images[index].shape
        assert abs((np.ptp(found[:, 0]) + 1) / (np.ptp(found[:, 1]) + 1) - shape[0] / shape[1]) < 0.01
    bare = contact_sheet(images, columns=3, width=900)
    assert (sheet == 255).all(2).any(), 'captions are white'
    assert not (bare == 255).all(2).any()


@pytest.mark.parametrize('count', [1, 2])
def test_few_images_fill_the_width(count):
    sheet = contact_sheet([np.full((10, 20, 3), 200, np.uint8)] * count, columns=4, width=400)
    assert (sheet[len(sheet) // 2] == 200).all(1).mean() > 0.95


def test_a_contact_sheet_says_what_is_wrong():
    with pytest.raises(ValueError, match='at least one'):
        contact_sheet([])
    with pytest.raises(ValueError, match='1 images, but 2 captions'):
        contact_sheet([np.zeros((5, 5, 3), np.uint8)], captions=['a', 'b'])


@pytest.mark.parametrize('length', [1, 3, 7, 8, 100, 1000])
def test_a_sheet_of_a_stream_shows_it_evenly_and_keeps_few_images(length, tmp_path):
    sheet, shown = VideoSheet(4), []
    for index in range(length):
        sheet.add(np.full((10, 10, 3), 20 + 200 * index // length, np.uint8), '')
        assert len(sheet) < 8
    sheet.write(tmp_path / 'sheet.png', columns=4, width=400)
    middle = cv2.imread(str(tmp_path / 'sheet.png'))[50, :, 0].astype(int)
    for value in middle[middle > 0]:
        if not shown or value != shown[-1]:
            shown.append(value)
    assert len(shown) == min(4, length)
    places = (np.array(shown) - 20) / 200
    assert places[0] == 0 and (length == 1 or places[-1] >= 0.6)
    if length >= 100:
        assert np.ptp(np.diff(places)) < 0.1


def test_the_pictures_are_what_opencv_can_write(tmp_path):
    image = np.zeros((64, 64, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / 'a.png'), draw_overlay(image, one_object((64, 64), [5, 20, 40, 60])))


def test_a_lost_object_is_tagged_at_its_last_box_and_paints_nothing_else():
    image = np.full((200, 200, 3), 90, np.uint8)
    lost = one_object((200, 200), [40, 100, 140, 180], np.zeros((80, 100), np.uint8), score=0.0)
    painted = draw_overlay(image, lost.with_fields(states=[LOST]))
    changed = np.argwhere((painted != image).any(2))
    assert len(changed) and changed[:, 0].max() < 100
    seen = draw_overlay(image, lost)
    assert (painted != seen).any()  # the tag says that it is lost, not how sure it is
