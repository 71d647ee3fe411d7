"""CocoDataset: images with object outlines in a COCO instance JSON, checked as a whole before it is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.rle import decompress
from vis_ros.synthetic.bounded_cache import BoundedCache
from vis_ros.synthetic.labelled_frame import LabelledFrame
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
"""COCO's 12 supercategories and their 80 categories, both in COCO's order."""

_SUPERCATEGORY_OF = {category: name for name, categories in SUPERCATEGORIES.items() for category in categories}
Part = Literal['all', 'training', 'held-out']

_TENTH = 10
_FINENESS = 4
"""Polygons are filled on a grid this many times finer than the pixels."""


@dataclass(frozen=True)
class CocoProblem:
    """A record that was left out: what is wrong (`kind`, the same words for the same fault) and where."""

    kind: str
    where: str

    def __str__(self) -> str:
        return f'{self.kind}: {self.where}'


@dataclass(frozen=True, eq=False)
class CocoAnnotation:
    """One outline. `segmentation` is a list of (K, 2) float32 polygons or a run-length code as {counts, size}."""

    class_id: int
    crowd: bool
    box: tuple[float, float, float, float]
    segmentation: list[NDArray[np.float32]] | dict[str, Any]


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image file with its (height, width) and its outlines."""

    path: Path
    size: tuple[int, int]
    annotations: list[CocoAnnotation] = field(default_factory=list)


class CocoDataset:
    """A folder of images with a COCO instance JSON.

    Every record is checked when the data set is made: what is wrong with single images or annotations is collected in
    `problems` and left out; `report()` says it in words. Nothing of it fails later.

    image_folder: where the files are, by their `file_name` or by the last part of it.
    classes: 'supercategories' (of COCO's own 80 categories always the 12, in COCO's order; of other files theirs, in
        order of appearance) or 'categories' (as the file lists them).
    part: 'all' images, 'training' (all but every tenth) or 'held-out' (every tenth), in the order of the file.

    Raises ValueError, naming the file, where it cannot be read at all or no image is left.
    """

    def __init__(
        self,
        image_folder: str | Path,
        annotation_file: str | Path,
        classes: Literal['supercategories', 'categories'] = 'supercategories',
        part: Part = 'all',
    ) -> None:
        if classes not in ('supercategories', 'categories'):
            raise ValueError(f"classes is {classes!r}, expected 'supercategories' or 'categories'")
        self.image_folder, self.annotation_file = Path(image_folder), Path(annotation_file)
        self.problems: list[CocoProblem] = []
        record = _read_json(self.annotation_file)
        class_of = self._read_categories(record['categories'], classes)
        by_id = self._read_images(record['images'])
        self._read_annotations(record['annotations'], by_id, class_of)
        self.images = [
            image
            for number, image in enumerate(by_id.values(), 1)
            if part == 'all' or (number % _TENTH == 0) == (part == 'held-out')
        ]
        if not self.images:
            raise ValueError(f'{self.annotation_file} has no usable image in {self.image_folder}; {self.report()}')
        self._cutouts: BoundedCache[ObjectCrop] = BoundedCache(1024)

    def __len__(self) -> int:
        return len(self.images)

    def report(self, examples: int = 3) -> str:
        """All problems in one text: how many of each kind, with a few examples."""
        if not self.problems:
            return 'no problems'
        lines = [f'{len(self.problems)} records of {self.annotation_file} are left out']
        for kind, count in Counter(problem.kind for problem in self.problems).most_common():
            where = [problem.where for problem in self.problems if problem.kind == kind][:examples]
            lines.append(f'  {count} x {kind}: {", ".join(where)}{", ..." if count > examples else ""}')
        return '\n'.join(lines)

    def frame(self, index: int) -> LabelledFrame:
        """Image `index` with its objects, in the order of the file: object id k is its k-th annotation.

        Pixels of crowds are ignored. A pixel that two annotations claim belongs to the smaller one.
        """
        entry = self.images[index]
        height, width = entry.size
        owner = np.full((height, width), -1, np.int32)
        ignored = np.zeros((height, width), bool)
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
        return LabelledFrame(
            image=self.read_image(index),
            object_ids=np.array(visible, np.int32) + 1,
            class_ids=np.array([entry.annotations[n].class_id for n in visible], np.int32),
            masks=np.array([owner == n for n in visible], bool).reshape(-1, height, width),
            pasted=np.zeros(len(visible), bool),
            ignored=ignored if ignored.any() else None,
        )

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR."""
        entry = self.images[index]
        image = _read_file(entry.path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None or image.shape[:2] != entry.size:
            raise ValueError(f'{entry.path} has changed since the data set was checked')
        return image

    def objects(self, min_area: int = 400, min_side: int = 12, max_cut_sides: int = 1) -> list[CocoObject]:
        """The annotations worth pasting elsewhere: no crowds, not tiny, not cut off at the image's border.

        min_area: of the outline, in pixels (a box this large or more is looked at more closely).
        min_side: shortest side of its box in pixels.
        max_cut_sides: at how many sides the image border may cut it.
        """
        found = []
        for index, entry in enumerate(self.images):
            for number, annotation in enumerate(entry.annotations):
                x0, y0, x1, y1 = annotation.box
                cut = sum((x0 < 1.5, y0 < 1.5, x1 > entry.size[1] - 1.5, y1 > entry.size[0] - 1.5))
                small = min(x1 - x0, y1 - y0) < min_side or (x1 - x0) * (y1 - y0) < min_area
                if annotation.crowd or small or cut > max_cut_sides:
                    continue
                part = largest_part_area(annotation, entry.size)
                if part >= min_area:
                    found.append(CocoObject(self, index, number))
        return found

    def cutout(self, index: int, number: int) -> ObjectCrop:
        """Annotation `number` of image `index`, its largest connected part. Those used last are kept in memory."""
        return self._cutouts.get((index, number), lambda: self._cut_out(index, number))

    def _cut_out(self, index: int, number: int) -> ObjectCrop:
        entry = self.images[index]
        annotation = entry.annotations[number]
        coverage, corner = annotation_coverage(annotation, entry.size)
        cutout = crop_object(
            self.read_image(index), coverage, corner, annotation.class_id, f'{entry.path.name}#{number}'
        )
        if cutout is None:
            raise ValueError(f'annotation {number} of {entry.path} covers no pixel')
        return cutout

    def _problem(self, kind: str, where: str) -> None:
        self.problems.append(CocoProblem(kind, where))

    def _read_categories(self, records: list[Any], classes: str) -> dict[Any, int]:
        names: dict[Any, str] = {}
        for record in records:
            if not isinstance(record, dict) or 'id' not in record or 'name' not in record:
                self._problem('category without id or name', str(record)[:60])
            elif record['id'] in names:
                self._problem('duplicate category id', f'category {record["id"]}')
            elif classes == 'categories':
                names[record['id']] = record['name']
            elif group := record.get('supercategory') or _SUPERCATEGORY_OF.get(record['name']):
                names[record['id']] = group
            else:
                self._problem('category without supercategory', f'category {record["id"]} {record["name"]!r}')
        present = list(dict.fromkeys(names.values()))
        of_coco = classes == 'supercategories' and set(present) <= set(SUPERCATEGORIES)
        self.class_names: list[str] = list(SUPERCATEGORIES) if of_coco else present
        return {identity: self.class_names.index(name) for identity, name in names.items()}

    def _read_images(self, records: list[Any]) -> dict[Any, CocoImage]:
        images: dict[Any, CocoImage] = {}
        for record in records:
            try:
                identity, name = record['id'], str(record['file_name'])
                size = int(record['height']), int(record['width'])
            except (TypeError, KeyError, ValueError):
                self._problem('image record without id, file_name, height or width', str(record)[:60])
                continue
            if identity in images:
                self._problem('duplicate image id', f'image {identity} {name}')
                continue
            images[identity] = CocoImage(self._find_file(name), size)
        with ThreadPoolExecutor(4) as pool:
            faults = list(pool.map(_image_fault, images.values()))
        for identity, fault in zip(list(images), faults, strict=True):
            if fault:
                self._problem(fault, str(images.pop(identity).path))
        return images

    def _find_file(self, name: str) -> Path:
        path = self.image_folder / name
        return path if path.is_file() else self.image_folder / Path(name).name

    def _read_annotations(self, records: list[Any], images: dict[Any, CocoImage], class_of: dict[Any, int]) -> None:
        seen: set[Any] = set()
        for position, record in enumerate(records):
            identity = record.get('id', f'at position {position}') if isinstance(record, dict) else position
            where = f'annotation {identity}'
            if not isinstance(record, dict) or not {'image_id', 'category_id', 'segmentation'} <= set(record):
                self._problem('annotation without image_id, category_id or segmentation', where)
            elif identity in seen:
                self._problem('duplicate annotation id', where)
            elif record['image_id'] not in images:
                self._problem('annotation of an image that is not listed or left out', where)
            elif record['category_id'] not in class_of:
                self._problem('category that is not listed', f'{where} (category {record["category_id"]})')
            else:
                image = images[record['image_id']]
                try:
                    segmentation = parse_segmentation(record['segmentation'], image.size)
                    annotation = _annotation(segmentation, class_of[record['category_id']], record, image.size)
                    image.annotations.append(annotation)
                except _BadOutline as error:
                    self._problem(str(error), where)
            seen.add(identity)


@dataclass(frozen=True, eq=False)
class CocoObject:
    """An annotation of a CocoDataset as an ObjectSource: a still, the same at every phase."""

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

    def cutout(self, phase: float) -> ObjectCrop:
        return self.dataset.cutout(self.index, self.number)


class _BadOutline(ValueError):
    """What is wrong with a segmentation, in the words of CocoProblem.kind."""


def parse_segmentation(segmentation: Any, size: tuple[int, int]) -> list[NDArray[np.float32]] | dict[str, Any]:
    """Check the `segmentation` of a COCO annotation of a (height, width) image: polygons or a run-length code."""
    if isinstance(segmentation, dict):
        return _parse_run_lengths(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise _BadOutline('zero area')
    height, width = size
    polygons = []
    for ring in segmentation:
        try:
            points = np.asarray(ring, np.float32)
        except (TypeError, ValueError):
            raise _BadOutline('polygon that is not a list of numbers') from None
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise _BadOutline('polygon that is not at least 3 pairs of numbers')
        points = points.reshape(-1, 2)
        if points.min() < -1 or points[:, 0].max() > width + 1 or points[:, 1].max() > height + 1:
            raise _BadOutline('polygon outside the image')
        polygons.append(points)
    return polygons


def _parse_run_lengths(code: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    counts, own_size = code.get('counts'), code.get('size')
    if own_size is None or tuple(own_size) != size:
        raise _BadOutline('run-length code of another size than its image')
    try:
        counts = (
            decompress(counts).tolist() if isinstance(counts, (str, bytes)) else [int(count) for count in counts or []]
        )
    except (TypeError, ValueError):
        raise _BadOutline('run-length code that cannot be read') from None
    if any(count < 0 for count in counts) or sum(counts) != size[0] * size[1]:
        raise _BadOutline('run-length code that does not fill its image')
    return {'counts': counts, 'size': size}


def _annotation(
    segmentation: list[NDArray[np.float32]] | dict[str, Any], class_id: int, record: Any, size: tuple[int, int]
) -> CocoAnnotation:
    crowd = bool(record.get('iscrowd', 0))
    if isinstance(segmentation, dict):
        coverage, (x, y) = run_length_coverage(segmentation['counts'], size)
        if not coverage.any():
            raise _BadOutline('zero area')
        box = float(x), float(y), float(x + coverage.shape[1]), float(y + coverage.shape[0])
    else:
        points = np.concatenate(segmentation)
        box = tuple(float(v) for v in (*points.min(0), *points.max(0)))  # type: ignore[assignment]
        if abs(sum(_signed_area(ring) for ring in segmentation)) < 1.0:
            coverage, _ = polygon_coverage(segmentation, size)
            if not (coverage >= 128).any():
                raise _BadOutline('zero area')
    return CocoAnnotation(class_id, crowd, box, segmentation)


def _signed_area(ring: NDArray[np.float32]) -> float:
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def annotation_coverage(annotation: CocoAnnotation, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """How much of each pixel the object covers: a (h, w) uint8 crop, 255 = all, and its (x, y) corner in the image."""
    if isinstance(annotation.segmentation, dict):
        return run_length_coverage(annotation.segmentation['counts'], size)
    return polygon_coverage(annotation.segmentation, size)


def polygon_coverage(
    polygons: Sequence[NDArray[np.float32]], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Fill polygons, their union. Coordinates are continuous: pixel (0, 0) is the square from (0, 0) to (1, 1).

    Filled on a finer grid and averaged, so seams without width vanish and the outline is soft.
    """
    points = np.concatenate(polygons)
    limits = size[1], size[0]
    x0, y0 = (max(0, min(int(np.floor(points[:, axis].min())), limits[axis] - 1)) for axis in (0, 1))
    x1, y1 = (max(low + 1, min(int(np.ceil(points[:, a].max())), limits[a])) for a, low in ((0, x0), (1, y0)))
    fine = np.zeros(((y1 - y0) * _FINENESS, (x1 - x0) * _FINENESS), np.uint8)
    for ring in polygons:
        # cv2 puts integer coordinates at pixel centres; 4 of its bits are fractions.
        grid = np.rint(((ring - (x0, y0)) * _FINENESS - 0.5) * 16).astype(np.int32)
        one = np.zeros_like(fine) if len(polygons) > 1 else fine
        cv2.fillPoly(one, [grid], 255, shift=4)
        # It fills the pixels below the outline too; half of each of them is outside.
        cv2.polylines(one, [grid], True, 128, shift=4)
        np.maximum(fine, one, out=fine)
    return cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA), (x0, y0)


def run_length_coverage(counts: Sequence[int], size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Run lengths down the columns, background first, as a crop of 0 and 255 and its corner; (0, 0) if it is empty."""
    values = np.arange(len(counts)) % 2 * 255
    full = np.repeat(values.astype(np.uint8), counts).reshape(size[1], size[0]).T
    rows, columns = np.flatnonzero(full.any(1)), np.flatnonzero(full.any(0))
    if not len(rows):
        return np.zeros((1, 1), np.uint8), (0, 0)
    crop = full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(crop), (int(columns[0]), int(rows[0]))


def largest_part_area(annotation: CocoAnnotation, size: tuple[int, int]) -> int:
    """Pixels of the largest connected part of an annotation."""
    return int(np.count_nonzero(largest_part(annotation_coverage(annotation, size)[0]) >= 128))


def _read_json(path: Path) -> dict[str, list[Any]]:
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ValueError(f'cannot read the annotation file {path}: {error.strerror}') from error
    except ValueError as error:
        raise ValueError(f'the annotation file {path} is not JSON: {error}') from error
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(record, dict) or not isinstance(record.get(key), list):
            raise ValueError(f'the annotation file {path} has no list {key!r}: it is not a COCO instance file')
    return record


def _read_file(path: Path, flags: int) -> NDArray[np.uint8] | None:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    return cv2.imdecode(data, flags) if len(data) else None


def _image_fault(entry: CocoImage) -> str | None:
    """What is wrong with an image file, from a decoding at an eighth of its size."""
    if not entry.path.is_file():
        return 'image file missing'
    small = _read_file(entry.path, cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION)
    if small is None:
        return 'image file that cannot be decoded'
    if any(abs(small.shape[axis] - entry.size[axis] / 8) > 1 for axis in (0, 1)):
        return 'image file of another size than its record'
    return None
