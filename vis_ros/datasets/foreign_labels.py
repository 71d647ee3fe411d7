"""Label formats of other programs that are not read: recognized by their content, with what to do in words."""

from __future__ import annotations

import re
from typing import Any

_CONVERT = 'convert it to YouTube-VIS or COCO JSON'
_TO_COCO = 'python -m scalabel.label.to_coco -m seg_track'
_BOXES = 'boxes without masks, but masks are needed'

_KEYS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({'shapes', 'imagePath'}), f'a LabelMe file of one image; {_CONVERT} (labelme2coco)'),
    (frozenset({'_via_img_metadata'}), f'a project of the VGG Image Annotator; {_CONVERT}: it exports COCO'),
    (frozenset({'frames', 'config'}), f'Scalabel (BDD100K); {_CONVERT} ({_TO_COCO})'),
    (frozenset({'sequences', 'categories'}), f'BURST or TAO with sequences; {_CONVERT}'),
    (frozenset({'label_categories', 'items'}), f'a Datumaro file; {_CONVERT} (datum convert -f coco_instances)'),
    (frozenset({'openlabel'}), f'an OpenLABEL file; {_CONVERT}'),
    (frozenset({'type', 'features'}), f'a GeoJSON file; {_CONVERT}'),
)
_ROW_KEYS: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({'name', 'labels'}),
        f'a list of Scalabel (BDD100K) frames; {_CONVERT} (scalabel.label.to_coco -m seg_track)',
    ),
    (frozenset({'shapes', 'imagePath'}), f'a list of LabelMe images; {_CONVERT} (labelme2coco)'),
    (frozenset({'annotations', 'data'}), 'an export of Label Studio; export it as COCO with segmentation instead'),
    (frozenset({'image_id', 'keypoints'}), 'a list of COCO keypoints, which have no masks'),
    (frozenset({'image_id', 'segments_info'}), f'a list of COCO panoptic results; {_CONVERT}'),
    (frozenset({'image_id', 'caption'}), 'a list of COCO captions, which have no masks'),
    (frozenset({'External ID', 'Label'}), f'an export of Labelbox; {_CONVERT}'),
)


def foreign_json(content: Any) -> str:
    """What the content of a JSON file is, in words that follow 'is'; '' for a layout that may be one of ours."""
    if isinstance(content, list):
        rows = [row for row in content[:1] if isinstance(row, dict)]
        if (
            rows
            and 'segmentation' not in rows[0]
            and 'segmentations' not in rows[0]
            and {'bbox', 'score'} <= set(rows[0])
        ):
            return f'a list of {_BOXES}'
        return next((text for row in rows for keys, text in _ROW_KEYS if keys <= set(row)), '')
    if not isinstance(content, dict):
        return ''
    if isinstance(content.get('videos'), dict):
        return 'the meta.json of YouTube-VOS, which has no masks: give its folder Annotations'
    annotations = content.get('annotations')
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if isinstance(first, dict):
        if 'segments_info' in first:
            return f'COCO panoptic JSON; {_CONVERT} (panopticapi/converters/panoptic2detection_coco_format.py)'
        if 'caption' in first:
            return 'COCO captions, which have no masks'
        rows = [row for row in annotations or () if isinstance(row, dict)]
        if 'bbox' in first and not any(row.get('segmentation') or row.get('segmentations') for row in rows):
            return f'COCO JSON of {_BOXES}'
    return next((text for keys, text in _KEYS if keys <= set(content)), '')


def foreign_text(line: bytes) -> str:
    """What a line of a text file is, in words that follow 'are'; '' for an unknown kind."""
    text = line.decode('latin-1').strip()
    number = r'-?\d+(\.\d+)?([eE]-?\d+)?'
    parts = text.split(',')
    if len(parts) >= 6 and all(re.fullmatch(number, part.strip()) for part in parts[:6]):
        return f'boxes of MOTChallenge (frame, id, x, y, width, height): {_BOXES}'
    words = text.split()
    if len(words) >= 15 and not re.fullmatch(number, words[0]) and re.fullmatch(number, words[4]):
        return f'boxes of KITTI: {_BOXES}'
    if len(words) >= 17 and re.fullmatch(r'\d+', words[0]) and re.fullmatch(r'[A-Za-z_]+', words[2]):
        return f'boxes of KITTI tracking: {_BOXES}'
    if len(words) == 5 and all(re.fullmatch(number, word) for word in words):
        return f'boxes of YOLO: {_BOXES}'
    if len(words) >= 7 and len(words) % 2 and all(re.fullmatch(number, word) for word in words):
        return f'polygons of YOLO without the size of their image; {_CONVERT}'
    return ''
