"""Classes by other names: results of COCO's supercategories against its 80 categories, or what the user says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.synthetic.coco_images import SUPERCATEGORY_OF
from vis_ros.yaml_file import read_yaml

NO_MAP = 'none'
"""In place of a map: classes match by equal names only."""

_LISTED = 4


def read_class_map(options: Sequence[str]) -> dict[str, str] | None:
    """The map of class names that --class-map options describe; None without options: groups are found by themselves.

    Args:
        options: each `NAME=NAME`, a YAML or JSON file with an object of names, or NO_MAP alone.

    Raises:
        ValueError: it is none of these.
    """
    if not options:
        return None
    names: dict[str, str] = {}
    for option in options:
        before, equals, after = option.partition('=')
        if equals and before and after:
            names[before] = after
        elif Path(option).is_file():
            names |= _read_file(Path(option))
        elif option != NO_MAP:
            raise ValueError(f'--class-map {option!r} is neither NAME=NAME, a file with names, nor {NO_MAP}')
    return names


def _read_file(path: Path) -> dict[str, str]:
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise ValueError(f'--class-map {error}') from error
    if not isinstance(content, dict) or not all(isinstance(each, str) for each in (*content, *content.values())):
        raise ValueError(f'--class-map {path} does not map names to names, as {{"car": "vehicle"}} does')
    return content


def map_classes(
    results: AnnotatedVideos, truth: AnnotatedVideos, names: Mapping[str, str] | None
) -> tuple[AnnotatedVideos, AnnotatedVideos]:
    """Both sides with their classes renamed, and a remark that says which.

    Without a map, a class that the other side does not have counts as its group if the other side has a class of that
    name: the group that its file gives, or COCO's supercategory.

    Args:
        results, truth: both sides.
        names: class name -> name, of both sides; None to find groups.

    Raises:
        ValueError: a name of the map is a class of neither side.
    """
    if not (results.has_classes and truth.has_classes):
        return results, truth
    if names is not None:
        _check_known(names, {*results.class_names, *truth.class_names})
        return _renamed(results, names), _renamed(truth, names)
    new_truth = _renamed(truth, _groups(truth, results.class_names))
    return _renamed(results, _groups(results, new_truth.class_names)), new_truth


def unmatched(results: AnnotatedVideos, truth: AnnotatedVideos) -> frozenset[str]:
    """The classes of the ground truth that the model of the results does not have, so that it cannot find them.

    Empty where the classes of the model are not known: other classes than those found may be known to it.
    """
    known = results.settings.get('class_names')
    if not (results.has_classes and truth.has_classes and isinstance(known, list)):
        return frozenset()
    return frozenset(truth.class_names) - frozenset(results.class_names)


def _groups(side: AnnotatedVideos, other: Iterable[str]) -> dict[str, str]:
    """The groups in `other` of the classes that `other` does not have."""
    there = set(other)
    groups = {name: side.supercategories.get(name) or SUPERCATEGORY_OF.get(name, '') for name in side.class_names}
    for name, group in SUPERCATEGORY_OF.items():  # a file may put its classes into other groups than COCO does
        if name in groups and groups[name] not in there:
            groups[name] = group
    return {name: group for name, group in groups.items() if name not in there and group in there}


def _check_known(names: Iterable[str], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f'--class-map: {", ".join(unknown)} is a class of neither side; there are {", ".join(sorted(known))}'
        )


def _renamed(videos: AnnotatedVideos, names: Mapping[str, str]) -> AnnotatedVideos:
    used = {name: new for name, new in names.items() if name in videos.class_names and new != name}
    if not used:
        return videos
    by_new: dict[str, list[str]] = defaultdict(list)
    for name, new in used.items():
        by_new[new].append(name)
    listed = [f'{_shortened(its)} as {new}' for new, its in by_new.items()]
    remark = f'classes of {videos.source}: {"; ".join(listed)} (--class-map)'
    class_names = tuple(used.get(name, name) for name in videos.class_names)
    return replace(videos, class_names=class_names, remarks=(*videos.remarks, remark))


def _shortened(names: Sequence[str]) -> str:
    more = f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''
    return ', '.join(names[:_LISTED]) + more
