"""Margins: by how much each object leads over all others, against the others one by one."""

import numpy as np
import pytest

from vis_ros.propagation.margins import margins


@pytest.mark.parametrize('objects', [1, 2, 7])
def test_the_margin_is_the_lead_over_the_best_of_the_others(objects):
    random = np.random.default_rng(objects)
    planes = random.integers(0, 4, (objects + 1, 9, 11)).astype(np.float32) / 4  # many ties
    found = margins(planes)
    assert len(found) == objects
    for number, margin in enumerate(found, start=1):
        others = np.delete(planes, number, axis=0)
        np.testing.assert_array_equal(margin, planes[number] - others.max(axis=0))
    assert (np.sum([margin > 0 for margin in found], axis=0) <= 1).all()
