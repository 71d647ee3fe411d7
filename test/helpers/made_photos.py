"""Made photos: a COCO file with crowds, results of a detector with every kind of error, and what pycocotools says."""

import contextlib
import io

import numpy as np
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIZE = (48, 64)
CATEGORIES = ((3, 'cup'), (7, 'ball'), (9, 'dog'))


def rle(corners):
    mask = np.zeros(SIZE, np.uint8, order='F')
    x0, y0, x1, y1 = corners
    mask[y0:y1, x0:x1] = 1
    code = coco.encode(mask)
    return {'size': list(SIZE), 'counts': code['counts'].decode()}


def corners(random):
    x0, y0 = random.integers(0, 44), random.integers(0, 30)
    return int(x0), int(y0), int(x0 + random.integers(5, 20)), int(y0 + random.integers(5, 18))


def moved(box, random):
    x0, y0, x1, y1 = np.clip(np.array(box) + random.integers(-2, 3, 4), 0, [SIZE[1], SIZE[0]] * 2).tolist()
    return (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def made(count, seed=0):
    """(COCO truth, COCO results) of photos of 48x64 pixels."""
    random = np.random.default_rng(seed)
    ids = [each for each, _ in CATEGORIES]
    images, annotations, rows = [], [], []
    for number in range(1, count + 1):
        images.append({'id': number, 'file_name': f'{7919 * number:012d}.jpg', 'height': SIZE[0], 'width': SIZE[1]})
        for _ in range(random.integers(0, 5)):
            box, category = corners(random), int(random.choice(ids))
            crowd = int(random.random() < 0.15)
            code = rle(box)
            annotations.append(
                {'id': len(annotations) + 1, 'image_id': number, 'category_id': category, 'iscrowd': crowd}
                | {'segmentation': code, 'area': float(coco.area(code)), 'bbox': coco.toBbox(code).tolist()}
            )
            for _ in range(random.integers(0, 3)):
                found = category if random.random() < 0.8 else int(random.choice(ids))
                rows.append(result(number, found, moved(box, random), random))
        for _ in range(random.integers(0, 3)):
            rows.append(result(number, int(random.choice(ids)), corners(random), random))
    categories = [{'id': number, 'name': name} for number, name in CATEGORIES]
    return {'images': images, 'annotations': annotations, 'categories': categories}, rows


def result(image, category, box, random):
    score = float(random.random())  # no two are equal: the order of equal ones is not defined
    return {'image_id': image, 'category_id': category, 'segmentation': rle(box), 'score': score}


def by_pycocotools(truth, rows, use_classes):
    """AP, AP50, AP75, AR1 and AR10."""
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = truth
        there.createIndex()
        evaluation = COCOeval(there, there.loadRes([dict(row) for row in rows]), 'segm')
        evaluation.params.useCats = use_classes
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(('AP', 'AP50', 'AP75', 'AR1', 'AR10'), evaluation.stats[[0, 1, 2, 6, 7]].tolist(), strict=True))
