"""CocoDataset, from files that the tests write."""

import json

import cv2
import numpy as np
import pytest
from helpers.coco_files import CATEGORIES, annotation, box_polygon, write_dataset

from vis_ros.masks.rle import decompress
from vis_ros.synthetic.coco_images import SUPERCATEGORIES, CocoDataset, polygon_coverage, run_length_coverage
from vis_ros.synthetic.object_crop import largest_part


@pytest.fixture
def dataset(tmp_path):
    annotations = [
        annotation(1, 7, 18, box_polygon(10, 8, 40, 38)),
        annotation(2, 7, 1, box_polygon(30, 20, 50, 40)),
        annotation(3, 7, 1, {'counts': [45 * 60, 15 * 60, 20 * 60], 'size': [60, 80]}, crowd=1),
        annotation(4, 9, 44, box_polygon(5, 5, 30, 35)),
    ]
    path = write_dataset(tmp_path, [(7, 'train/a.png', 60, 80), (9, 'b.png', 50, 40)], annotations)
    return CocoDataset(tmp_path / 'images', path)


def test_classes_are_the_12_supercategories_in_cocos_order(dataset):
    assert dataset.class_names == list(SUPERCATEGORIES)
    assert dataset.class_names[:4] == ['person', 'vehicle', 'outdoor', 'animal']
    assert sum(len(names) for names in SUPERCATEGORIES.values()) == 80
    assert [dataset.class_names[i] for i in dataset.frame(0).class_ids] == ['animal', 'person']


def test_classes_are_the_categories_of_the_file(dataset):
    again = CocoDataset(dataset.image_folder, dataset.annotation_file, classes='categories')
    assert again.class_names == ['person', 'dog', 'bottle']
    assert again.frame(1).class_ids.tolist() == [2]


def test_classes_of_another_data_set_are_its_own_supercategories(tmp_path):
    categories = [{'id': 3, 'name': 'pallet', 'supercategory': 'load'}, {'id': 4, 'name': 'fork lift'}]
    annotations = [annotation(1, 1, 3, box_polygon(2, 2, 9, 9)), annotation(2, 1, 4, box_polygon(2, 2, 9, 9))]
    found = CocoDataset(tmp_path / 'images', write_dataset(tmp_path, [(1, 'a.png', 20, 20)], annotations, categories))
    assert found.class_names == ['load']
    assert [problem.kind for problem in found.problems] == [
        'category without supercategory',
        'unknown category',
    ]
    assert len(found.frame(0)) == 1


def test_every_tenth_image_is_held_out_and_the_others_are_for_training(tmp_path):
    images = [(identity, f'{identity}.png', 8, 8) for identity in range(1, 24)]
    annotations = [annotation(i, i, 1, box_polygon(1, 1, 6, 6)) for i in range(1, 24)]
    path = write_dataset(tmp_path, images, annotations)
    names = {
        part: [image.path.stem for image in CocoDataset(tmp_path / 'images', path, part=part).images]
        for part in ('all', 'training', 'held-out')
    }
    assert names['held-out'] == ['10', '20']
    assert names['training'] == [name for name in names['all'] if name not in names['held-out']]
    assert len(names['all']) == 23


def test_unknown_class_scheme_is_rejected(dataset):
    with pytest.raises(ValueError, match="'things'"):
        CocoDataset(dataset.image_folder, dataset.annotation_file, classes='things')


def test_frame_has_the_visible_pixels_of_each_object(dataset):
    frame = dataset.frame(0)
    assert frame.image.shape == (60, 80, 3) and not frame.pasted.any()
    assert frame.object_ids.tolist() == [1, 2]
    dog, person = np.zeros((2, 60, 80), bool)
    dog[8:38, 10:40] = True
    person[20:40, 30:50] = True
    np.testing.assert_array_equal(frame.masks, [dog & ~person, person])  # the smaller one is seen
    assert frame.boxes().tolist() == [[10, 8, 40, 38], [30, 20, 50, 40]]


def test_crowds_are_ignored_where_no_object_is(dataset):
    frame = dataset.frame(0)
    expected = np.zeros((60, 80), bool)
    expected[:, 45:60] = True
    expected[20:40, 45:50] = False  # a person of its own
    np.testing.assert_array_equal(frame.ignored, expected)
    assert dataset.frame(1).ignored is None


def test_polygons_agree_with_pycocotools():
    coco_mask = pytest.importorskip('pycocotools.mask')
    random = np.random.default_rng(0)
    for _ in range(30):
        height, width = random.integers(40, 200, 2)
        polygons = [star(random, height, width) for _ in range(random.integers(1, 3))]
        flat = [ring.ravel().tolist() for ring in polygons]
        theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, int(height), int(width)))).astype(bool)
        coverage, (x, y) = polygon_coverage(polygons, (height, width))
        ours = np.zeros((height, width), bool)
        ours[y : y + coverage.shape[0], x : x + coverage.shape[1]] = coverage >= 128
        perimeter = sum(np.linalg.norm(ring - np.roll(ring, 1, 0), axis=1).sum() for ring in polygons)
        # They round the outline to pixels, and OpenCV before 5 fills polygons a little wider.
        assert np.count_nonzero(ours ^ theirs) <= 0.2 * perimeter
        assert abs(int(ours.sum()) - int(theirs.sum())) <= 0.2 * perimeter


def star(random, height, width):
    angle = np.sort(random.uniform(0, 2 * np.pi, 12))
    radius = random.uniform(0.2, 0.48, 12)
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] + 0.5
    return (points * (width, height)).astype(np.float32)


def test_coverage_of_a_pixel_is_the_covered_share():
    coverage, corner = polygon_coverage([np.array([[2.5, 3], [6, 3], [6, 7.25], [2.5, 7.25]], np.float32)], (20, 20))
    assert corner == (2, 3)
    expected = np.outer([1, 1, 1, 1, 0.25], [0.5, 1, 1, 1]) * 255
    np.testing.assert_allclose(coverage, expected, atol=0.26 * 255)  # a row of the finer grid
    assert (coverage[1:3, 2] == 255).all()


def test_run_lengths_agree_with_pycocotools():
    coco_mask = pytest.importorskip('pycocotools.mask')
    random = np.random.default_rng(1)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = random.random((37, 91)) < density
        mask[10:30, 20:60] |= density > 0
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = decompress(code['counts']).tolist()
        coverage, (x, y) = run_length_coverage(counts, (37, 91))
        ours = np.zeros((37, 91), bool)
        ours[y : y + coverage.shape[0], x : x + coverage.shape[1]] = coverage > 0
        np.testing.assert_array_equal(ours, mask)
        assert decompress(code['counts'].decode()).tolist() == counts


def test_compressed_run_lengths_in_a_file(tmp_path):
    coco_mask = pytest.importorskip('pycocotools.mask')
    mask = np.zeros((40, 30), np.uint8)
    mask[5:25, 8:21] = 1
    code = coco_mask.encode(np.asfortranarray(mask))
    segmentation = {'counts': code['counts'].decode(), 'size': [40, 30]}
    path = write_dataset(tmp_path, [(1, 'a.png', 40, 30)], [annotation(1, 1, 1, segmentation)])
    np.testing.assert_array_equal(CocoDataset(tmp_path / 'images', path).frame(0).masks[0], mask.astype(bool))


BAD_SEGMENTATIONS = {
    'the point (200, 5) outside': [[5, 5, 200, 5, 20, 30]],
    'zero area': [[5, 5, 20, 20, 5, 5, 20, 20]],
    'has 4 numbers': [[5, 5, 20, 5]],
    'expected a list of numbers': [['here', 'and', 'there', 1, 2, 3]],
    "'size' is [10, 10]": {'counts': [100], 'size': [10, 10]},
    'run lengths sum to 30': {'counts': [10, 20], 'size': [60, 80]},
    'compressed run lengths': {'counts': 'é~', 'size': [60, 80]},
    'is []': [],
}


def test_all_problems_are_reported_together_and_nothing_fails_later(tmp_path):
    good = annotation(1, 7, 1, box_polygon(10, 10, 40, 40))
    bad = [annotation(100 + i, 7, 1, segmentation) for i, segmentation in enumerate(BAD_SEGMENTATIONS.values())]
    others = [
        annotation(1, 7, 18, box_polygon(1, 1, 5, 5)),
        annotation(3, 7, 999, box_polygon(1, 1, 5, 5)),
        annotation(4, 12345, 1, box_polygon(1, 1, 5, 5)),
        {'id': 6},
        'nonsense',
    ]
    names = [(7, 'a.png', 60, 80), (8, 'gone.png', 60, 80), (9, 'broken.jpg', 60, 80), (10, 'other.png', 60, 80)]
    path = write_dataset(tmp_path, names, [good, *bad, *others])
    (tmp_path / 'images' / 'gone.png').unlink()
    (tmp_path / 'images' / 'broken.jpg').write_bytes(b'not a picture')
    cv2.imwrite(str(tmp_path / 'images' / 'other.png'), np.zeros((120, 80, 3), np.uint8))
    record = json.loads(path.read_text())
    record['images'] += [record['images'][0], {'id': 77}]
    record['categories'] += [CATEGORIES[0], {'name': 'nobody'}]
    path.write_text(json.dumps(record))

    dataset = CocoDataset(tmp_path / 'images', path)

    kinds = [problem.kind for problem in dataset.problems]
    for number, text in enumerate(BAD_SEGMENTATIONS):
        (problem,) = [problem for problem in dataset.problems if f'annotation {100 + number}' in problem.where]
        assert text in str(problem)
    expected = {
        'duplicate annotation id': 1,
        'unusable segmentation': len(BAD_SEGMENTATIONS) - 1,
        'zero area': 1,
        'unknown category': 1,
        'image unknown or left out': 1,
        'annotation without image_id, category_id or segmentation': 2,
        'image file missing': 1,
        'image file that cannot be decoded': 1,
        'image file of another size than its record': 1,
        'duplicate image id': 1,
        'image record without id, file_name, height or width': 1,
        'duplicate category id': 1,
        'category without id or name': 1,
    }
    assert {kind: kinds.count(kind) for kind in expected} == expected
    assert len(kinds) == sum(expected.values())
    report = dataset.report()
    assert f'{len(kinds)} records' in report and 'annotation 100' in report and 'gone.png' in report
    assert len(dataset) == 1 and len(dataset.frame(0)) == 1 and len(dataset.objects()) == 1


@pytest.mark.parametrize('content', [None, '{"images": [', '[1, 2]', '{"images": [], "annotations": []}'])
def test_unusable_file_is_named(tmp_path, content):
    path = tmp_path / 'instances.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r'instances\.json'):
        CocoDataset(tmp_path, path)


def test_data_set_without_usable_images_is_rejected_with_the_reasons(tmp_path):
    path = write_dataset(tmp_path, [(1, 'a.png', 20, 20)], [])
    (tmp_path / 'images' / 'a.png').unlink()
    with pytest.raises(ValueError, match=r'(?s)no usable image.*1 x image file missing.*a\.png'):
        CocoDataset(tmp_path / 'images', path)


def test_objects_leave_out_crowds_tiny_ones_and_those_cut_off(tmp_path):
    polygons = {
        'good': box_polygon(30, 30, 70, 70),
        'tiny': box_polygon(10, 10, 20, 20),
        'thin': box_polygon(10, 80, 90, 85),
        'at one side': box_polygon(0, 30, 25, 70),
        'at a corner': box_polygon(60, 60, 100, 100),
    }
    annotations = [annotation(i, 1, 1, polygon) for i, polygon in enumerate(polygons.values())]
    annotations.append(annotation(50, 1, 1, box_polygon(30, 30, 70, 70), crowd=1))
    path = write_dataset(tmp_path, [(1, 'a.png', 100, 100)], annotations)
    dataset = CocoDataset(tmp_path / 'images', path)
    names = list(polygons)
    assert [names[found.number] for found in dataset.objects()] == ['good', 'at one side']
    assert [names[found.number] for found in dataset.objects(max_cut_sides=0)] == ['good']
    assert len(dataset.objects(min_area=1601)) == 0
    assert len(dataset.objects(min_area=50, min_side=5, max_cut_sides=4)) == 5


def test_thin_bridge_does_not_connect():
    coverage = np.zeros((40, 60), np.uint8)
    coverage[10:30, 5:25] = coverage[18:24, 40:55] = coverage[20:22, 25:40] = 255
    part = largest_part(coverage)
    assert part[10:30, 5:25].all() and not part[:, 30:].any()
    assert not largest_part(np.zeros((5, 5), np.uint8)).any()
    dot = np.full((2, 2), 255, np.uint8)
    np.testing.assert_array_equal(largest_part(dot), dot)


def test_crop_is_the_largest_part_without_the_seam(tmp_path):
    # One ring around two squares that a seam without width joins, as bridged annotations have it.
    ring = [20, 20, 50, 20, 50, 35, 70, 35, 70, 30, 80, 30, 80, 40, 70, 40, 70, 35, 50, 35, 50, 60, 20, 60]
    picture = np.zeros((90, 100, 3), np.uint8)
    picture[:] = (0, 255, 0)
    picture[20:60, 20:50] = (0, 0, 255)
    path = write_dataset(tmp_path, [(1, 'a.png', 90, 100)], [annotation(1, 1, 1, [ring])], pictures={'a.png': picture})
    dataset = CocoDataset(tmp_path / 'images', path)
    (source,) = dataset.objects()
    crop = source.crop(0)
    assert source.crop(17.5) is crop and source.class_id == crop.class_id == 0
    height, width = crop.size
    assert 40 <= height <= 48 and 30 <= width <= 38
    assert abs(crop.area - 30 * 40) <= 0.12 * 30 * 40
    edge = np.concatenate([crop.alpha[0], crop.alpha[-1], crop.alpha[:, 0], crop.alpha[:, -1]])
    assert not edge.any()
    assert np.count_nonzero((crop.alpha > 0) & (crop.alpha < 255)) > 50  # soft
    assert crop.image[..., 1].max() == 0  # nothing of the green around it is left, not even outside
    assert crop.image[..., 2].min() == 255
