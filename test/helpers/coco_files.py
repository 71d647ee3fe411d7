"""COCO instance files with their images, for tests."""

import json

import cv2
import numpy as np

CATEGORIES = [{'id': 1, 'name': 'person'}, {'id': 18, 'name': 'dog'}, {'id': 44, 'name': 'bottle'}]


def box_polygon(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def write_dataset(folder, images, annotations, categories=CATEGORIES, pictures=None):
    """Images are (id, name, height, width). Images that are not in `pictures` are noise."""
    for identity, name, height, width in images:
        path = folder / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(identity).integers(0, 256, (height, width, 3), np.uint8)
        assert cv2.imwrite(str(path), (pictures or {}).get(name, noise))
    record = {
        'images': [{'id': i, 'file_name': n, 'height': h, 'width': w} for i, n, h, w in images],
        'annotations': annotations,
        'categories': categories,
    }
    path = folder / 'instances.json'
    path.write_text(json.dumps(record))
    return path


def annotation(identity, image, category, segmentation, crowd=0):
    return {
        'id': identity,
        'image_id': image,
        'category_id': category,
        'segmentation': segmentation,
        'iscrowd': crowd,
    }
