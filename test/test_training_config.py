"""TrainConfig: the shipped files load, every field is documented, and errors name the wrong field."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from vis_ros.networks.model_config import DEMO, ModelConfig
from vis_ros.propagation.propagation_header import PROPAGATION_KEY
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.synthetic.davis_sequence import DAVIS_TRAIN
from vis_ros.training.train_config import CropSource, DataSource, TrainConfig, Validation

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / 'config' / 'train_masktrack_rcnn.yaml'


@pytest.mark.parametrize('path', sorted((ROOT / 'config').glob('train_*.yaml')), ids=lambda path: path.name)
def test_shipped_files_load(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights that must be fetched or trained first are replaced by others."""

    def stand_in(name: str) -> Path:
        architecture = Path(name).stem
        if architecture not in PROPAGATION_SYSTEMS:
            return ROOT / 'vis_ros/weights/demo.safetensors'
        file = tmp_path / f'{architecture}.safetensors'
        metadata = {PROPAGATION_KEY: PROPAGATION_SYSTEMS[architecture].config(architecture).to_json()}
        save_file({'none': np.zeros(1, np.float32)}, file, metadata=metadata)
        return file

    monkeypatch.setattr('vis_ros.training.train_config.resolve', stand_in)
    assert TrainConfig.read(path).data


def test_the_reference_file_names_every_field_and_its_default() -> None:
    """Each as a setting or as a comment '# field: default'."""
    text = REFERENCE.read_text()
    named = set(re.findall(r'^[\s#-]*(\w+):', text, re.MULTILINE))
    for kind in (TrainConfig, DataSource, CropSource, Validation):
        assert {field.name for field in fields(kind)} - named == set(), kind
    indented = text[text.index('validation:') :]
    for kind, commented in (
        (TrainConfig, re.findall(r'^# (\w+): (\S+) ', text, re.MULTILINE)),
        (Validation, re.findall(r'^  # (\w+): (\S+) ', indented, re.MULTILINE)),
    ):
        assert len(commented) >= 3
        for name, value in commented:
            (field,) = [field for field in fields(kind) if field.name == name]
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            assert yaml.safe_load(value) == default, name


def test_every_field_has_a_docstring() -> None:
    source = (ROOT / 'vis_ros' / 'training' / 'train_config.py').read_text()
    for kind in (DataSource, CropSource, Validation):
        for field in fields(kind):
            assert re.search(rf'^    {field.name}: .*\n    """', source, re.MULTILINE), field.name


def test_the_demo_recipe_keeps_the_test_images_and_a_tenth_for_validation_out_of_training() -> None:
    config = TrainConfig.read(ROOT / 'config' / 'train_demo.yaml')
    assert isinstance(config.model, ModelConfig)
    assert config.size == (config.model.input_height, config.model.input_width)
    assert config.validation is not None
    (held_out,) = config.validation.data
    assert held_out.part == 'held-out'
    validated = held_out.annotations
    for source in (held_out, *config.data):
        assert 'val2017' not in source.images + source.annotations
        if source.annotations == validated and source is not held_out:
            assert source.part == 'training'
        assert validated not in [crops.annotations for crops in source.crops]
        for videos in (source, *source.crops):
            if videos.annotations == 'datasets/davis':
                assert videos.only and set(videos.only) <= set(DAVIS_TRAIN)


COMPOSITES = {'kind': 'composites', 'images': 'a', 'annotations': 'b'}
PHOTOS = COMPOSITES | {'kind': 'images'}


def make(**values: Any) -> TrainConfig:
    return TrainConfig.from_dict({'data': [{'kind': 'scenes'}]} | values)


def test_effects_can_be_switched() -> None:
    source = {'kind': 'composites', 'images': 'a', 'annotations': 'b', 'effects': {'noise': 0, 'objects': [1, 2]}}
    effects = make(data=[source]).data[0].composite_config()
    assert effects.noise == 0 and effects.objects == (1, 2) and effects.sizes == (0.07, 0.9)


def test_a_model_starts_from_that_of_the_weights() -> None:
    config = make(weights='demo', model={'name': 'mine', 'max_detections': 5})
    assert isinstance(config.model, ModelConfig) and config.model.has_dense_head
    assert config.model.with_fields(dense_classes=()) == DEMO.with_fields(name='mine', max_detections=5)
    assert not config.class_names
    assert make(model={'class_names': ['a', 'b']}).class_names == ('a', 'b')


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'lerning_rate': 1}, r'lerning_rate \(did you mean learning_rate\?\)'),
        ({'model': {'fpn_chanels': 3}}, r'fpn_chanels \(did you mean fpn_channels\?\) of model'),
        ({'data': [{'weight': 2}]}, 'needs a kind, one of videos'),
        ({'data': [{'kind': 'videos'}]}, 'needs annotations'),
        ({'data': [{'kind': 'scenes', 'color': 2}]}, 'color of data'),
        ({'data': [{'kind': 'scenes', 'effects': {'fog': 1}}]}, 'fog of effects'),
        ({'data': [{'kind': 'scenes', 'effects': {'shadows': 1}}]}, 'did you mean shadow'),
        ({'data': [COMPOSITES | {'classes': 'all'}]}, "classes 'all' is not one of supercategories, categories"),
        ({'data': [COMPOSITES | {'classes': ['cat']}]}, 'expected a mapping'),
        ({'data': [COMPOSITES | {'classes': {'pet': 'cat'}}]}, "classes pet is 'cat', expected a list"),
        ({'data': [COMPOSITES | {'classes': {'a': [], 'b': []}}]}, 'more than one class without categories'),
        ({'data': [COMPOSITES | {'crops': [{'images': 'a'}]}]}, 'expected fields such as annotations'),
        ({'data': [COMPOSITES | {'crops': [{'annotations': 'a', 'copies': 0}]}]}, 'copies 0 is less than 1'),
        ({'data': [COMPOSITES | {'crops': [{'annotations': 'a', 'folder': 'b'}]}]}, 'folder of crops'),
        ({'optimizer': 'adam'}, "optimizer 'adam' is not one of adamw, sgd"),
        ({'schedule': 'step'}, 'needs decay_steps'),
        ({'precision': 'half'}, "precision 'half' is not one of auto"),
        ({'pretrained': 'model.safetensors'}, 'a whole model is given as `weights`'),
        ({'weights': 'nowhere.safetensors'}, 'nowhere'),
        ({'ema': 1.0}, 'ema 1.0'),
        ({'input_scales': [0.5, 0]}, 'input_scales'),
        ({'pairs': 0}, 'pairs 0'),
        ({'steps': -5}, 'steps -5'),
        ({'steps': 'many'}, "steps is 'many', expected a whole number"),
        ({'pairs': 2.5}, 'pairs is 2.5, expected a whole number'),
        ({'learning_rate': 'fast'}, "learning_rate is 'fast', expected a number"),
        ({'ema': True}, 'ema is True, expected a number'),
        ({'out': 5}, 'out is 5, expected a str'),
        ({'schedule': 'step', 'decay_steps': 100}, 'decay_steps is 100, expected a list'),
        ({'model': 'feelvos'}, "model is 'feelvos', expected fields"),
        ({'data': ['scenes']}, "data source is 'scenes', expected fields"),
        ({'data': [{'kind': 'scenes', 'only': 'cows'}]}, "data only is 'cows', expected a list"),
        ({'data': [{'kind': 'scenes', 'effects': 3}]}, 'data effects is 3, expected a mapping'),
        ({'validation': 'scenes'}, "validation is 'scenes', expected fields"),
        ({'model': {'legacy_boxes': True}}, 'legacy_boxes'),
        ({'validation': {'every': 5}}, 'validation needs data'),
        ({'validation': {'data': {'kind': 'scenes'}, 'figure': 'IDSW'}}, "figure 'IDSW'"),
        ({'validation': {'data': {'kind': 'scenes'}, 'every': 0}}, 'every 0'),
        ({'validation': {'data': []}}, 'validation needs data'),
        ({'validation': {'data': {'kind': 'scenes'}, 'patience': -1}}, 'patience -1'),
        ({'validation': {'data': [PHOTOS, {'kind': 'scenes'}], 'figure': 'HOTA'}}, "figure 'HOTA' follows objects"),
        ({'validation': {'data': PHOTOS}, 'model': {'architecture': 'feelvos'}}, "take 'composites'"),
    ],
)
def test_errors_name_the_wrong_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make(**values)


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    """YAML reads 1e-4 as text."""
    path = tmp_path / 'train.yaml'
    path.write_text('data: [{kind: scenes, weight: 2e0}]\nlearning_rate: 1e-4\n')
    config = TrainConfig.read(path)
    assert (config.learning_rate, config.data[0].weight) == (1e-4, 2.0)


@pytest.mark.parametrize('text', ['[1, 2]', 'data: [', 'data: 5'])
def test_errors_name_files_that_are_no_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'train.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'train\.yaml'):
        TrainConfig.read(path)
