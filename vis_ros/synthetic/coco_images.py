"""CocoDataset: images with object outlines from a COCO instance JSON, checked as a whole before use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_json import find_image
from vis_ros.datasets.problems import read_json
from vis_ros.datasets.segmentation import fault
from vis_ros.image_headers import check_file
from vis_ros.images import ImageError, read_image_file
from vis_ros.masks import rle
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.object_crop import ObjectCrop, crop_object, largest_part

SUPERCATEGORIES: dict[str, tuple[str, ...]] = {
    'person': ('person',),
    'vehicle': ('bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat'),
    'outdoor': ('traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench'),
    'animal': ('bird', 'cat', 'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe'),
    'accessory': ('backpack', 'umbrella', 'handbag', 'tie', 'suitcase'),
    'sports': (
        *('frisbee', 'skis', 'snowboard', 'sports ball', 'kite', 'baseball bat', 'baseball glove'),
        *('skateboard', 'surfboard', 'tennis racket'),
    ),
    'kitchen': ('bottle', 'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl'),
    'food': (*('banana', 'apple', 'sandwich', 'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake'),),
    'furniture': ('chair', 'couch', 'potted plant', 'bed', 'dining table', 'toilet'),
    'electronic': ('tv', 'laptop', 'mouse', 'remote', 'keyboard', 'cell phone'),
    'appliance': ('microwave', 'oven', 'toaster', 'sink', 'refrigerator'),
    'indoor': ('book', 'clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush'),
}
"""The 12 supercategories of COCO and their 80 categories, in COCO's order."""

SUPERCATEGORY_OF = {category: name for name, categories in SUPERCATEGORIES.items() for category in categories}
Part = Literal['all', 'training', 'held-out']

Box = tuple[float, float, float, float]

_TENTH = 10
_SAME_OBJECT = 0.5
"""Smallest IoU at which an ignored box shows an annotated object."""
_FINENESS = 4
"""Polygons are filled on a grid this many times finer than the pixels."""


@dataclass(frozen=True)
class CocoProblem:
    """A record that was left out. kind: what is wrong, the same text for the same fault; where: which record."""

    kind: str
    where: str

    def __str__(self) -> str:
        return f'{self.kind}: {self.where}'


@dataclass(frozen=True, eq=False)
class CocoAnnotation:
    """One annotated object.

    box: x0 y0 x1 y1 in pixels.
    segmentation: a list of polygons (K, 2) float32, or run lengths (R,) as in `vis_ros.masks.rle`.
    """

    class_id: int
    crowd: bool
    box: Box
    segmentation: list[NDArray[np.float32]] | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image file, its (height, width) and its annotations.

    ignored: boxes x0 y0 x1 y1 in pixels of what is there but not annotated.
    """

    path: Path
    size: tuple[int, int]
    annotations: list[CocoAnnotation] = field(default_factory=list)
    ignored: list[Box] = field(default_factory=list)


class CocoDataset:
    """A folder of images with a COCO instance JSON.

    Unlike `vis_ros.datasets.coco_json`, which rejects a file with any fault and turns outlines into pixels, this keeps
    polygons, for crops with soft edges, and leaves out faulty records. Every record is checked at construction and
    listed in `problems` if it is left out, so that nothing fails later.

    Args:
        image_folder: where the images are, by `file_name` or by its last part.
        annotation_file: the JSON file.
        classes: 'supercategories' (for COCO's 80 categories always the 12 of COCO, in its order; for other files those
            in the file, in order of appearance) or 'categories' (as listed in the file).
        part: 'all' images, 'training' (all but every tenth) or 'held-out' (every tenth), in the order of the file.
        exhaustive: whether every object of the classes is annotated. If not, all other pixels are ignored instead of
            counted as background.
        ignored_boxes: a COCO results file, such as detections of another network: pixels in its boxes are ignored
            unless an annotated object fills the box with an IoU of at least 0.5.

    Raises:
        ValueError: the file cannot be read, or no image is usable.
    """

    def __init__(
        self,
        image_folder: str | Path,
        annotation_file: str | Path,
        classes: Literal['supercategories', 'categories'] = 'supercategories',
        part: Part = 'all',
        exhaustive: bool = True,
        ignored_boxes: str | Path = '',
    ) -> None:
        if classes not in ('supercategories', 'categories'):
            raise ValueError(f"classes is {classes!r}, expected 'supercategories' or 'categories'")
        self.image_folder, self.annotation_file = Path(image_folder), Path(annotation_file)
        self.problems: list[CocoProblem] = []
        record = _read_instances(self.annotation_file)
        class_of = self._read_categories(record['categories'], classes)
        by_id = self._read_images(record['images'])
        self._read_annotations(record['annotations'], by_id, class_of)
        if ignored_boxes:
            _add_ignored(by_id, Path(ignored_boxes))
        self.exhaustive = exhaustive
        self.images = [
            image
            for number, image in enumerate(by_id.values(), 1)
            if part == 'all' or (number % _TENTH == 0) == (part == 'held-out')
        ]
        if not self.images:
            raise ValueError(f'{self.annotation_file} has no usable image in {self.image_folder}; {self.report()}')
        self._crops: BoundedCache[ObjectCrop] = BoundedCache(1024)

    def __len__(self) -> int:
        return len(self.images)

    def report(self, examples: int = 3) -> str:
        """All problems as text: the number of records of each kind, with a few examples."""
        if not self.problems:
            return 'no problems'
        lines = [f'{len(self.problems)} records of {self.annotation_file} are left out']
        for kind, count in Counter(problem.kind for problem in self.problems).most_common():
            where = [problem.where for problem in self.problems if problem.kind == kind][:examples]
            lines.append(f'  {count} x {kind}: {", ".join(where)}{", ..." if count > examples else ""}')
        return '\n'.join(lines)

    def frame(self, index: int) -> LabeledFrame:
        """Image `index` with its objects, in the order of the file: object id k is annotation k of the image.

        Pixels of crowds and of what is not annotated are ignored. A pixel claimed by two annotations belongs to the
        smaller one.
        """
        entry = self.images[index]
        height, width = entry.size
        owner = np.full((height, width), -1, np.int32)
        ignored = np.full((height, width), not self.exhaustive)
        for x0, y0, x1, y1 in entry.ignored:
            ignored[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
        regions = [annotation_coverage(annotation, entry.size) for annotation in entry.annotations]
        order = sorted(range(len(regions)), key=lambda i: -np.count_nonzero(regions[i][0] >= 128))
        for number in order:
            coverage, (x, y) = regions[number]
            window = slice(y, y + coverage.shape[0]), slice(x, x + coverage.shape[1])
            if entry.annotations[number].crowd:
                ignored[window] |= coverage >= 128
            else:
                owner[window][coverage >= 128] = number
        visible = [n for n in range(len(regions)) if not entry.annotations[n].crowd and (owner == n).any()]
        ignored &= owner < 0
        return LabeledFrame(
            image=self.read_image(index),
            object_ids=np.array(visible, np.int32) + 1,
            class_ids=np.array([entry.annotations[n].class_id for n in visible], np.int32),
            masks=np.array([owner == n for n in visible], bool).reshape(-1, height, width),
            pasted=np.zeros(len(visible), bool),
            ignored=ignored if ignored.any() else None,
        )

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, (H, W, 3) uint8 BGR. ValueError if its file has changed since construction."""
        entry = self.images[index]
        try:
            image = read_image_file(entry.path)
        except ImageError as error:
            raise ValueError(f'{entry.path} has changed since the data set was checked') from error
        if image.shape[:2] != entry.size:
            raise ValueError(f'{entry.path} has changed since the data set was checked')
        return image

    def objects(self, min_area: int = 400, min_side: int = 12, max_cut_sides: int = 1) -> list[CocoObject]:
        """The annotations that are worth pasting into other images.

        Args:
            min_area: smallest area of the largest connected part, in pixels.
            min_side: shortest side of the box, in pixels.
            max_cut_sides: number of sides at which the image border may cut the object off.
        """
        found = []
        for index, entry in enumerate(self.images):
            for number, annotation in enumerate(entry.annotations):
                x0, y0, x1, y1 = annotation.box
                cut = sum((x0 < 1.5, y0 < 1.5, x1 > entry.size[1] - 1.5, y1 > entry.size[0] - 1.5))
                small = min(x1 - x0, y1 - y0) < min_side or (x1 - x0) * (y1 - y0) < min_area
                if annotation.crowd or small or cut > max_cut_sides:
                    continue
                if largest_part_area(annotation, entry.size) >= min_area:
                    found.append(CocoObject(self, index, number))
        return found

    def object_crop(self, index: int, number: int) -> ObjectCrop:
        """The largest connected part of annotation `number` of image `index`. Recently used crops are cached."""
        return self._crops.get((index, number), lambda: self._make_crop(index, number))

    def _make_crop(self, index: int, number: int) -> ObjectCrop:
        entry = self.images[index]
        annotation = entry.annotations[number]
        coverage, corner = annotation_coverage(annotation, entry.size)
        crop = crop_object(self.read_image(index), coverage, corner, annotation.class_id, f'{entry.path.name}#{number}')
        if crop is None:
            raise ValueError(f'annotation {number} of {entry.path} covers no pixel')
        return crop

    def _add_problem(self, kind: str, where: str) -> None:
        self.problems.append(CocoProblem(kind, where))

    def _read_categories(self, records: list[Any], classes: str) -> dict[Any, int]:
        names: dict[Any, str] = {}
        for record in records:
            if not isinstance(record, dict) or 'id' not in record or 'name' not in record:
                self._add_problem('category without id or name', str(record)[:60])
            elif record['id'] in names:
                self._add_problem('duplicate category id', f'category {record["id"]}')
            elif classes == 'categories':
                names[record['id']] = record['name']
            elif group := record.get('supercategory') or SUPERCATEGORY_OF.get(record['name']):
                names[record['id']] = group
            else:
                self._add_problem('category without supercategory', f'category {record["id"]} {record["name"]!r}')
        present = list(dict.fromkeys(names.values()))
        is_coco = classes == 'supercategories' and set(present) <= set(SUPERCATEGORIES)
        self.class_names: list[str] = list(SUPERCATEGORIES) if is_coco else present
        return {identity: self.class_names.index(name) for identity, name in names.items()}

    def _read_images(self, records: list[Any]) -> dict[Any, CocoImage]:
        images: dict[Any, CocoImage] = {}
        for record in records:
            try:
                identity, name = record['id'], str(record['file_name'])
                size = int(record['height']), int(record['width'])
            except (TypeError, KeyError, ValueError):
                self._add_problem('image record without id, file_name, height or width', str(record)[:60])
                continue
            if identity in images:
                self._add_problem('duplicate image id', f'image {identity} {name}')
                continue
            images[identity] = CocoImage(self._find_file(name), size)
        with ThreadPoolExecutor(4) as pool:
            faults = list(pool.map(_image_fault, images.values()))
        for identity, text in zip(list(images), faults, strict=True):
            if text:
                self._add_problem(text, str(images.pop(identity).path))
        return images

    def _find_file(self, name: str) -> Path:
        found = find_image(name, [self.image_folder])
        return self.image_folder / Path(name).name if found is None else found.path

    def _read_annotations(self, records: list[Any], images: dict[Any, CocoImage], class_of: dict[Any, int]) -> None:
        seen: set[Any] = set()
        for position, record in enumerate(records):
            identity = record.get('id', f'at position {position}') if isinstance(record, dict) else position
            where = f'annotation {identity}'
            if not isinstance(record, dict) or not {'image_id', 'category_id', 'segmentation'} <= set(record):
                self._add_problem('annotation without image_id, category_id or segmentation', where)
            elif identity in seen:
                self._add_problem('duplicate annotation id', where)
            elif record['image_id'] not in images:
                self._add_problem('image unknown or left out', where)
            elif record['category_id'] not in class_of:
                self._add_problem('unknown category', f'{where} (category {record["category_id"]})')
            else:
                image = images[record['image_id']]
                text = fault(record['segmentation'], image.size)
                if text is not None:
                    self._add_problem('unusable segmentation', f'{where} ({text})')
                elif (annotation := _annotation(record, class_of[record['category_id']], image.size)) is None:
                    self._add_problem('zero area', where)
                else:
                    image.annotations.append(annotation)
            seen.add(identity)


@dataclass(frozen=True, eq=False)
class CocoObject:
    """An annotation of a CocoDataset as an ObjectSource. It is a still: the crop is the same at every phase."""

    dataset: CocoDataset
    index: int
    number: int

    @property
    def annotation(self) -> CocoAnnotation:
        return self.dataset.images[self.index].annotations[self.number]

    @property
    def class_id(self) -> int:
        return self.annotation.class_id

    @property
    def extent(self) -> float:
        x0, y0, x1, y1 = self.annotation.box
        return max(x1 - x0, y1 - y0)

    def crop(self, phase: float) -> ObjectCrop:
        return self.dataset.object_crop(self.index, self.number)


def _annotation(record: dict[str, Any], class_id: int, size: tuple[int, int]) -> CocoAnnotation | None:
    """The annotation of a record whose segmentation has no fault; None if it covers no pixel."""
    segmentation = record['segmentation']
    box: tuple[float, ...]
    outline: list[NDArray[np.float32]] | NDArray[np.int64]
    if isinstance(segmentation, dict):
        counts = segmentation['counts']
        outline = rle.decompress(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
        coverage, (x, y) = run_length_coverage(outline, size)
        if not coverage.any():
            return None
        box = float(x), float(y), float(x + coverage.shape[1]), float(y + coverage.shape[0])
    else:
        outline = [np.asarray(ring, np.float32).reshape(-1, 2) for ring in segmentation]
        points = np.concatenate(outline)
        box = tuple(float(v) for v in (*points.min(0), *points.max(0)))
        if abs(sum(_signed_area(ring) for ring in outline)) < 1.0:
            coverage, _ = polygon_coverage(outline, size)
            if not (coverage >= 128).any():
                return None
    return CocoAnnotation(class_id, bool(record.get('iscrowd', 0)), (box[0], box[1], box[2], box[3]), outline)


def _signed_area(ring: NDArray[np.float32]) -> float:
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def annotation_coverage(annotation: CocoAnnotation, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """How much of each pixel an object covers.

    Returns:
        the crop (h, w) uint8 around the object, 255 for all of a pixel, and its corner (x, y) in the image.
    """
    if isinstance(annotation.segmentation, list):
        return polygon_coverage(annotation.segmentation, size)
    return run_length_coverage(annotation.segmentation, size)


def polygon_coverage(
    polygons: Sequence[NDArray[np.float32]], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The coverage of the union of polygons; see `annotation_coverage`.

    Coordinates are continuous: pixel (0, 0) is the square from (0, 0) to (1, 1). Polygons are filled on a finer grid
    and averaged, so that the outline is soft and seams without width vanish.
    """
    points = np.concatenate(polygons)
    limits = size[1], size[0]
    x0, y0 = (max(0, min(int(np.floor(points[:, axis].min())), limits[axis] - 1)) for axis in (0, 1))
    x1, y1 = (max(low + 1, min(int(np.ceil(points[:, a].max())), limits[a])) for a, low in ((0, x0), (1, y0)))
    fine = np.zeros(((y1 - y0) * _FINENESS, (x1 - x0) * _FINENESS), np.uint8)
    for ring in polygons:
        # OpenCV takes integer coordinates as pixel centers, here with 4 fractional bits.
        grid = np.rint(((ring - (x0, y0)) * _FINENESS - 0.5) * 16).astype(np.int32)
        one = np.zeros_like(fine) if len(polygons) > 1 else fine
        cv2.fillPoly(one, [grid], 255, shift=4)
        # fillPoly also fills the pixels below the outline, half of each of which is outside.
        cv2.polylines(one, [grid], True, 128, shift=4)
        np.maximum(fine, one, out=fine)
    return cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA), (x0, y0)


def run_length_coverage(
    counts: Sequence[int] | NDArray[np.int64], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The coverage of run lengths, 0 or 255; see `annotation_coverage`. One empty pixel at (0, 0) for an empty mask."""
    full = rle.decode(counts, *size) * np.uint8(255)
    rows, columns = np.flatnonzero(full.any(1)), np.flatnonzero(full.any(0))
    if not len(rows):
        return np.zeros((1, 1), np.uint8), (0, 0)
    crop = full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(crop), (int(columns[0]), int(rows[0]))


def largest_part_area(annotation: CocoAnnotation, size: tuple[int, int]) -> int:
    """Area in pixels of the largest connected part of an annotation."""
    return int(np.count_nonzero(largest_part(annotation_coverage(annotation, size)[0]) >= 128))


def is_coco_instances(path: str | Path) -> bool:
    """Whether a file holds the annotations of images, not of videos. False if it cannot be read."""
    try:
        record = read_json(Path(path)) if Path(path).is_file() else None
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and isinstance(record.get('images'), list)


def _read_instances(path: Path) -> dict[str, list[Any]]:
    """The content of a COCO instance file. ValueError if it is none."""
    try:
        record = read_json(path)
    except OSError as error:
        raise ValueError(f'cannot read the annotation file {path}: {error.strerror}') from error
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(record, dict) or not isinstance(record.get(key), list):
            raise ValueError(f'the annotation file {path} has no list {key!r}: it is not a COCO instance file')
    return record


def _add_ignored(images: Mapping[Any, CocoImage], path: Path) -> None:
    """Give the boxes of a COCO results file to their images, but for those that show an annotated object.

    ValueError if the file is none or belongs to other images.
    """
    try:
        records = read_json(path)
        if not isinstance(records, list):
            raise TypeError
        boxes = [(record['image_id'], [float(value) for value in record['bbox']]) for record in records]
    except OSError as error:
        raise ValueError(f'cannot read the results file {path}: {error.strerror}') from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no COCO results file: a list of records with image_id and bbox') from error
    if boxes and not any(identity in images for identity, _ in boxes):
        raise ValueError(f'{path} has boxes of {len(boxes)} records, but of no image of the annotation file')
    for identity, (x, y, width, height) in boxes:
        if identity in images:
            entry, box = images[identity], (max(x, 0.0), max(y, 0.0), x + width, y + height)
            if all(_box_iou(box, annotation.box) < _SAME_OBJECT for annotation in entry.annotations):
                entry.ignored.append(box)


def _box_iou(one: Box, other: Box) -> float:
    """The IoU of two boxes x0 y0 x1 y1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / max(areas - common, 1e-9)


def _image_fault(entry: CocoImage) -> str | None:
    """What is wrong with an image file, or None. For speed, JPEGs are decoded at an eighth of their size."""
    if not entry.path.is_file():
        return 'image file missing'
    flags = cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        data = np.fromfile(entry.path, np.uint8)
        check_file(data)
        small = cv2.imdecode(data, flags) if len(data) else None
    except (OSError, ImageError):
        small = None
    if small is None:
        return 'image file that cannot be decoded'
    if any(abs(small.shape[axis] - entry.size[axis] / 8) > 1 for axis in (0, 1)):
        return 'image file of another size than its record'
    return None
