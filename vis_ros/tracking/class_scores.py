"""The setting `classes`: which classes are kept, and the lowest score of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def parse_classes(text: str) -> dict[str, float]:
    """Class name -> lowest score. '' gives nothing, which means all classes.

    Args:
        text: names with commas between them, each with a score if it has one of its own: 'person, car:0.5'.

    Raises:
        ValueError: an empty name, a name twice, or a score that is not from 0 to 1.
    """
    scores: dict[str, float] = {}
    for part in text.split(',') if text.strip() else ():
        name, _, score = (each.strip() for each in part.partition(':'))
        try:
            lowest = float(score or 0)
        except ValueError:
            lowest = -1.0
        if not name or name in scores or not 0 <= lowest <= 1:
            raise ValueError(
                f'classes is {text!r}: {part.strip()!r} is not a new class name, or its score is not from '
                "0 to 1; expected for example 'person, car:0.5'"
            )
        scores[name] = lowest
    return scores


def lowest_scores(text: str, class_names: Sequence[str]) -> NDArray[np.float32]:
    """(C,) the lowest score of each class of a network; infinite for a class that is not kept.

    Raises:
        ValueError: see `parse_classes`, or the network does not know a class.
    """
    scores = parse_classes(text)
    if unknown := [name for name in scores if name not in class_names]:
        raise ValueError(
            f'classes has {", ".join(map(repr, unknown))}, but the classes of the network are {", ".join(class_names)}'
        )
    return np.array([scores.get(name, np.inf) if scores else 0.0 for name in class_names], np.float32)
