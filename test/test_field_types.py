"""Values from files are typed by the hints of the dataclass that they are for, wherever they are in the file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from vis_ros.networks.model_config import DEMO, ModelConfig
from vis_ros.training.train_config import TrainConfig

SCENES = {'kind': 'scenes'}
COCO = {'kind': 'composites', 'images': 'a', 'annotations': 'b'}


def test_text_that_is_a_number_becomes_one() -> None:
    config = TrainConfig.from_dict({'data': [SCENES], 'model': {'score_threshold': '1e-2', 'mean': [1, '2e0', 3]}})
    assert isinstance(config.model, ModelConfig)
    assert config.model.score_threshold == 0.01 and config.model.mean == (1, 2.0, 3)


@pytest.mark.parametrize(
    ('values', 'told'),
    [
        ({'model': {'score_threshold': 'high'}}, "model score_threshold is 'high', expected a number"),
        ({'model': {'score_threshold': float('nan')}}, 'model score_threshold is nan, expected a number'),
        ({'model': {'mean': [1, 2, 3, 4]}}, r'model mean is \[1, 2, 3, 4\], expected a list of 3 numbers'),
        ({'model': {'input_height': 96.5}}, 'model input_height is 96.5, expected a whole number'),
        ({'model': {'input_height': -96}}, 'input_height is -96, expected above 0'),
        ({'model': {'score_threshold': 2}}, 'score_threshold is 2, expected at most 1'),
        ({'model': {'class_names': [1]}}, r'model class_names is \[1\], expected a list of texts'),
        ({'model': {'architecture': 'feelvos', 'input_height': 'x'}}, "model input_height is 'x'"),
        ({'data': [{**COCO, 'effects': {'sizes': ['big', 1]}}]}, r"effects sizes is \['big', 1\]"),
        ({'input_scales': [1, 'x']}, r"input_scales is \[1, 'x'\], expected a list of numbers"),
        ({'device': 'gpu'}, "device 'gpu' is not auto, cpu, cuda or cuda:N"),
        ({'learning_rate': -1e-3}, 'learning_rate -0.001 is not above 0'),
        ({'workers': -1}, 'workers -1 is less than 0'),
    ],
)
def test_a_value_of_another_type_or_sign_is_named(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrainConfig.from_dict({'data': [SCENES], **values})


@pytest.mark.parametrize('values', [{'mean': [1, 2, 3, 4]}, {'mask_threshold': ''}, {'proposals': True}])
def test_a_model_file_with_other_types_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f'{next(iter(values))} is'):
        ModelConfig.from_json(json.dumps({**asdict(DEMO), **values}))
