"""The pictures: what is painted, what is left alone, and whether a tag can be read."""

import cv2
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from vis_ros.instances import CONFIRMED, LOST, TENTATIVE, Instances
from vis_ros.visualization import TruthMarks, VideoSheet, class_image, contact_sheet, draw_overlay, identity_color
from vis_ros.visualization.palette import PALETTE

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


# Linear RGB to linear RGB as a person sees it who lacks the long or the medium cones. Machado, Oliveira and Fernandes
# 2009, severity 1; Viénot, Brettel and Mollon 1999, in cone responses.
MACHADO = {
    'protanopia': [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    'deuteranopia': [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
CONES = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
VIENOT = {
    'protanopia': [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]],
    'deuteranopia': [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]],
}


def palette_differences(simulation=None):
    """CIEDE2000 between any two colors of the palette, through a matrix on linear RGB."""
    rgb = np.array([identity_color(number)[::-1] for number in range(len(PALETTE))]) / 255
    if simulation is not None:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        seen = np.clip(linear @ np.array(simulation).T, 0, 1)
        rgb = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(rgb[None])[0]
    return np.array([deltaE_ciede2000(color[None], lab) for color in lab])


def least_by_gap(differences):
    """The smallest difference between colors 1, 2 and 3 places apart in the cyclic palette, and of all pairs."""
    places = np.arange(len(differences))
    gap = np.abs(places[:, None] - places)
    gap = np.minimum(gap, len(places) - gap)
    return [differences[gap == wanted].min() for wanted in (1, 2, 3)], differences[gap > 0].min()


def test_any_two_colors_differ_and_neighbors_differ_more():
    near, least = least_by_gap(palette_differences())
    assert len(set(PALETTE)) == len(PALETTE) >= 24
    assert min(near) > 24 and least > 12


@pytest.mark.parametrize('name', ['protanopia', 'deuteranopia'])
def test_the_colors_differ_without_red_and_green(name):
    vienot = np.linalg.inv(CONES) @ np.array(VIENOT[name]) @ CONES
    for simulation in (MACHADO[name], vienot):
        near, least = least_by_gap(palette_differences(simulation))
        assert near[0] > 18 and min(near) > 14 and least > 7


def test_no_color_is_gray_black_or_white():
    lab = rgb2lab(np.array([[identity_color(number)[::-1] for number in range(len(PALETTE))]]) / 255)[0]
    assert (np.hypot(lab[:, 1], lab[:, 2]) > 30).all()
    assert lab[:, 0].min() > 38 and lab[:, 0].max() < 95


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
    assert changed[:, 0].min() > 90 and changed[:, 0].max() <= 203
    assert changed[:, 1].min() >= 97 and changed[:, 1].max() < 230


def test_the_fill_leaves_the_object_legible_and_a_hole_stays_open():
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, 100:] = 255
    mask = np.ones((120, 120), np.uint8)
    mask[70:110, 70:110] = 0
    painted = draw_overlay(image, one_object((200, 200), [40, 60, 160, 180], mask))
    assert painted[100, 70].any() and (painted[100, 130] < 255).any(), 'tinted'
    assert (painted[100, 130].astype(int) - painted[100, 70] > 160).all(), 'most of the contrast is left'
    np.testing.assert_array_equal(painted[150, 130], image[150, 130])


def assert_near(pixel, color):
    """Anti-aliasing leaves a little of the image in a thin line."""
    assert np.abs(pixel.astype(int) - color).max() <= 20, (pixel, color)


def test_the_tint_is_the_mix_that_is_promised():
    image = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    mask = np.ones((100, 150), np.uint8)
    confirmed = draw_overlay(image, one_object((200, 300), [100, 60, 250, 160], mask), labels='none')
    inside = (slice(80, 140), slice(120, 230))
    mixed = 0.7 * image[inside] + 0.3 * np.array(identity_color(7))
    assert np.abs(confirmed[inside] - mixed).max() <= 1


@pytest.mark.parametrize('track_id', [3, 4])
@pytest.mark.parametrize('size', [(200, 200), (720, 1280)])
def test_the_outline_has_the_full_color_of_the_identity(size, track_id):
    image = np.full((*size, 3), 128, np.uint8)
    painted = draw_overlay(image, one_object(size, [40, 60, 160, 180], track_id=track_id))
    assert_near(painted[179, 100], identity_color(track_id))
    assert_near(painted[100, 159], identity_color(track_id))


def test_an_outline_has_an_edge_in_the_other_extreme():
    image = np.full((720, 1280, 3), 128, np.uint8)
    across = [
        draw_overlay(image, one_object((720, 1280), [400, 300, 700, 600], track_id=track_id))[450, 690:712]
        for track_id in (3, 4)  # a light color and a dark one
    ]
    assert across[0].max(1).min() < 70 and across[1].min(1).max() > 180


def outline_runs(painted, image):
    """How often drawn and untouched pixels alternate along the lower edge of the object at 400, 300, 700, 600."""
    drawn = (painted[599, 420:680] != image[599, 420:680]).any(1)
    return np.count_nonzero(np.diff(drawn.astype(int)))


@pytest.mark.parametrize('state', [TENTATIVE, CONFIRMED, LOST])
def test_only_a_confirmed_track_has_a_solid_outline(state):
    image = np.full((720, 1280, 3), 128, np.uint8)
    mask = np.zeros((300, 300), np.uint8) if state == LOST else np.ones((300, 300), np.uint8)
    track = one_object((720, 1280), [400, 300, 700, 600], mask).with_fields(states=[state])
    painted = draw_overlay(image, track, labels='none')
    # The tint of a tentative track lies behind its dashes: compare with a picture of the tint alone.
    plain = painted[450, 550].reshape(1, 1, 3).repeat(720, 0).repeat(1280, 1)
    assert (outline_runs(painted, plain) > 10) == (state != CONFIRMED)
    assert (painted[450, 550] == image[450, 550]).all() == (state == LOST)


def test_labels_can_be_left_out():
    image = np.full((400, 600, 3), 90, np.uint8)
    track = one_object((400, 600), [100, 120, 200, 300])
    above = {
        labels: np.count_nonzero((draw_overlay(image, track, labels=labels)[:115] != 90).any(2))
        for labels in ('full', 'id', 'none')
    }
    assert above['full'] > 2 * above['id'] > above['none'] == 0


def test_a_small_image_gets_no_details_that_would_cover_it():
    image = np.full((96, 128, 3), 90, np.uint8)
    painted = draw_overlay(image, one_object((96, 128), [40, 40, 80, 80], np.zeros((40, 40), np.uint8)))
    assert np.count_nonzero((painted != 90).any(2)) < 0.1 * 96 * 128


def test_objects_may_have_other_colors():
    image = np.zeros((200, 200, 3), np.uint8)
    painted = draw_overlay(image, one_object((200, 200), [40, 60, 160, 180]), colors=[(1, 2, 250)])
    assert_near(painted[179, 100], (1, 2, 250))


def test_errors_against_the_ground_truth_are_marked():
    image = np.full((400, 600, 3), 90, np.uint8)
    track = one_object((400, 600), [100, 120, 200, 300])
    plain = draw_overlay(image, track)
    other = one_object((400, 600), [400, 120, 500, 300])
    lost = draw_overlay(image, track, marks=TruthMarks(lost=other))
    changed = np.argwhere((lost != plain).any(2))
    assert changed[:, 1].min() > 390, 'only the lost object is drawn'
    edge = (lost[130:290, 400] > 200).all(1)
    assert 0.2 < edge.mean() < 0.9, 'dashed, in white'
    false = draw_overlay(image, track, marks=TruthMarks(false=frozenset({0})))
    assert (false[210, 150] > 200).all() and (plain[210, 150] < 200).any(), 'crossed out'
    switched = draw_overlay(image, track, marks=TruthMarks(switched={0: 12}))
    assert (switched[:118] != plain[:118]).any() and (switched[130:] == plain[130:]).all(), 'its tag tells'


def test_errors_in_words():
    lost = one_object((20, 20), [1, 1, 5, 5])
    assert TruthMarks().in_words() == ''
    assert TruthMarks({0: 3}, frozenset({1, 2}), lost).in_words() == '1 switch, 1 lost, 2 false'


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
        assert (light + 0.05) / (dark + 0.05) > 4.5, f'identity {track_id}: WCAG asks for a contrast of 4.5'


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
    assert_near(cat[159, 100], identity_color(1))
    assert_near(light[159, 100], identity_color(2))


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
    assert (sheet > 200).all(2).any(), 'captions are white'
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


def test_the_tag_of_a_lost_object_says_so():
    image = np.full((200, 400, 3), 90, np.uint8)
    lost = one_object((200, 400), [40, 100, 140, 180], np.zeros((80, 100), np.uint8), score=0.0)
    painted = draw_overlay(image, lost.with_fields(states=[LOST]))
    seen = draw_overlay(image, lost)
    assert (painted[:90] != seen[:90]).any()
    assert (painted[100:180, 40] != 90).any(), 'its last box is drawn'
    assert (painted[110:170, 50:130] == 90).all(), 'nothing is drawn inside'


def test_a_sheet_shows_wanted_images_beside_the_evenly_spaced_ones_in_order(tmp_path):
    sheet = VideoSheet(3)
    for index in range(100):
        sheet.add(np.full((10, 10, 3), 20 + 2 * index, np.uint8), '', is_wanted=index in (7, 8))
    sheet.write(tmp_path / 'sheet.png', columns=10, width=400)
    middle = cv2.imread(str(tmp_path / 'sheet.png'))[40, :, 0].astype(int)
    shown = [value for value in dict.fromkeys(middle.tolist()) if value]
    assert {34, 36} <= set(shown) and len(shown) == 5 and shown == sorted(shown)


def test_the_class_image_has_the_color_of_the_class_on_black():
    image = class_image(one_object((100, 120), [10, 10, 40, 40], class_id=2))
    assert image.shape == (100, 120, 3) and tuple(image[25, 25]) == identity_color(3)
    assert not image[60:].any() and not image[:, 60:].any()
    assert image[10, 25].min() > 200, 'an outline separates neighbors of one class'
