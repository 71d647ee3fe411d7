"""Encodings that vis_ros does not know go through cv_bridge where it can be imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vis_ros import images
from vis_ros.images import ImageError, decode_image

IMAGE = SimpleNamespace(encoding='rgb16', height=1, width=2, step=12, is_bigendian=0, data=bytes(range(12)))


class CvBridge:
    """As that of cv_bridge."""

    def imgmsg_to_cv2(self, message: Any, desired_encoding: str) -> np.ndarray:
        assert desired_encoding == 'bgr8'
        if message.encoding != 'rgb16':
            raise ValueError(f'[{message.encoding}] is not a color format')
        return np.frombuffer(message.data, np.uint8)[1::2].reshape(message.height, message.width, 3)[..., ::-1]


@pytest.fixture(params=['works', 'absent', 'built for another numpy'])
def state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    module = ModuleType('cv_bridge')
    if request.param == 'works':
        module.CvBridge = CvBridge  # type: ignore[attr-defined]
    elif request.param != 'absent':

        def fail() -> None:
            raise AttributeError('_ARRAY_API not found')

        module.CvBridge = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'cv_bridge', None if request.param == 'absent' else module)
    images._cv_bridge.cache_clear()
    yield request.param
    images._cv_bridge.cache_clear()


def test_unknown_encodings_go_through_cv_bridge(state: str) -> None:
    if state == 'works':
        assert decode_image(IMAGE).tolist() == [[[5, 3, 1], [11, 9, 7]]]
        assert decode_image(IMAGE).flags.c_contiguous
    else:
        with pytest.raises(ImageError, match=r'rgb16.*supported are mono8.*cv_bridge, which cannot be imported'):
            decode_image(IMAGE)


def test_what_cv_bridge_refuses_is_refused_with_its_words(state: str) -> None:
    image = SimpleNamespace(**{**vars(IMAGE), 'encoding': 'nonsense'})
    with pytest.raises(ImageError, match='not a color format' if state == 'works' else 'cannot be imported'):
        decode_image(image)


def test_known_encodings_do_not_need_it(state: str) -> None:
    image = SimpleNamespace(**{**vars(IMAGE), 'encoding': 'bgr8', 'step': 6})
    assert decode_image(image).tolist() == [[[0, 1, 2], [3, 4, 5]]]
