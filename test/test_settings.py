"""Settings: what they allow, and that everything generated from them agrees with them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import typer.main
import yaml

from doc import generate_reference
from vis_ros.cli.compare_models import DECIDED
from vis_ros.cli.main import app
from vis_ros.cli.setting_options import option_name
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.params_file import read_params_file
from vis_ros.tracking.propagate_config import PropagateConfig
from vis_ros.tracking.settings import NodeSettings, Settings, convert, objection, setting, setting_type

FIELDS = {item.name: item for item in fields(NodeSettings)}


# --- generated files ------------------------------------------------------------------------------------------------


def test_files_are_what_the_generator_writes() -> None:
    """If not: python -m doc.generate_reference."""
    assert generate_reference.YAML_FILE.read_text() == generate_reference.yaml_text()
    page = generate_reference.PAGE.read_text()
    assert page == generate_reference.with_settings(page)


def test_a_page_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match='<!-- settings -->'):
        generate_reference.with_settings('# The node')


def test_the_parameter_file_has_every_setting_with_its_default_and_type() -> None:
    values = yaml.safe_load(generate_reference.YAML_FILE.read_text())['/**']['ros__parameters']
    assert list(values) == list(FIELDS)
    for name, value in values.items():
        kind = list if setting_type(FIELDS[name]) is tuple else setting_type(FIELDS[name])
        assert type(value) is kind, name
    assert NodeSettings(**read_params_file(generate_reference.YAML_FILE)) == NodeSettings()


def test_the_parameter_file_explains_every_setting() -> None:
    """Its comment has the description, the choices or limits, and when it may change."""
    comment, explained = '', []
    for line in generate_reference.YAML_FILE.read_text().splitlines():
        text = line.strip()
        if text.startswith('#'):
            comment += text.removeprefix('#')
            continue
        name = text.partition(':')[0]
        if name in FIELDS:
            described = setting(FIELDS[name])
            words = ' '.join(comment.split())
            assert described.description in words
            assert all(choice in words for choice in described.choices)
            assert {'unconfigured': '[u]', 'always': '[a]', 'at start': ''}[described.change] in words
            explained.append(name)
        comment = ''
    assert explained == list(FIELDS)


@pytest.mark.parametrize(('command', 'decided'), [('replay', ()), ('compare-models', DECIDED)])
def test_every_setting_of_a_model_is_an_option(command: str, decided: tuple[str, ...]) -> None:
    program: Any = typer.main.get_command(app)
    options = {option: parameter for parameter in program.commands[command].params for option in parameter.opts}
    for item in fields(Settings):
        if item.name not in decided:
            assert setting(item).description in options[option_name(item.name)].help


# --- values ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_described_and_its_default_is_allowed() -> None:
    for item in FIELDS.values():
        described, numeric = setting(item), setting_type(item) in (int, float)
        assert len(described.description) > 20 and described.description.endswith('.')
        assert (described.limits is not None) == numeric, item.name
        assert not objection(item, item.default), item.name


@pytest.mark.parametrize(
    ('name', 'value', 'named'),
    [
        ('score_threshold', 1.5, 'from 0.0 to 1.0'),
        ('score_threshold', float('nan'), 'from 0.0 to 1.0'),
        ('max_identities', 0, 'from 1 to'),
        ('threads', 2.0, 'must be int'),
        ('threads', True, 'must be int'),
        ('accuracy_check', 1, 'must be bool'),
        ('weights', None, 'must be str'),
        ('mask_encoding', 'polygon', "'mono8'"),
        ('association', 'hungarian', "'one_to_one'"),
        ('device', 'cuda:', 'cuda:N'),
        ('cameras', 'front', 'a list of str'),
        ('cameras', [], 'empty'),
        ('cameras', ['a b'], "'a b'"),
        ('cameras', ['front', 'front'], 'twice'),
        ('cameras', ['front', ''], "''"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_setting_and_what_is_allowed(
    name: str, value: Any, named: str
) -> None:
    with pytest.raises(ValueError, match=f'^{name} ') as error:
        NodeSettings(**{name: value})
    assert named in str(error.value)


@pytest.mark.parametrize('names', [[''], ['front'], ['robot/front', 'left_2']])
def test_camera_names_are_ros_names(names: list[str]) -> None:
    assert NodeSettings(cameras=names).cameras == tuple(names)  # type: ignore[arg-type]


def test_values_become_the_type_of_the_setting_where_that_loses_nothing() -> None:
    assert type(Settings(max_age_s=5).max_age_s) is float
    assert convert(FIELDS['cameras'], ['a']) == ('a',)
    assert convert(FIELDS['threads'], 2.0) == 2.0 and type(convert(FIELDS['threads'], 2.0)) is float


def test_an_unknown_setting_is_an_error_that_suggests_another() -> None:
    with pytest.raises(ValueError, match="'new_track_scores' is not a setting; did you mean new_track_score"):
        Settings.of({'new_track_scores': 0.5})
    with pytest.raises(ValueError, match="'xyz' is not a setting; settings are weights, model"):
        Settings.of({'xyz': 1})


@pytest.mark.parametrize(
    ('values', 'named'),
    [
        ({'input_height': 320}, 'input_height is 320 and input_width is 0'),
        ({'input_width': 512}, 'input_height is 0 and input_width is 512'),
        ({'model': 'feelvos', 'bridge': 'rgmp'}, "bridge is 'rgmp'"),
        ({'propagation_weights': '/a.safetensors'}, 'propagates no masks'),
        ({'association': 'paper', 'bridge': 'feelvos'}, "association is 'paper'"),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, Any], named: str) -> None:
    settings = Settings(**values)
    with pytest.raises(ValueError, match=named):
        settings.check_together()


def test_the_settings_of_the_parts() -> None:
    settings = NodeSettings(
        input_height=320, input_width=512, new_track_score=0.7, max_age_s=1.5, max_identities=9, min_hits=2,
        start_from='prompts', max_objects=3, depth='raw',
    )  # fmt: skip
    settings.check_together()
    assert settings.input_size == (320, 512) and Settings().input_size is None
    assert settings.association_config() == AssociationConfig(
        new_track_score=0.7, max_age_s=1.5, max_identities=9, min_hits=2
    )
    assert settings.propagate_config() == PropagateConfig(
        start_from_detections=False, max_objects=3, new_track_score=0.7, max_age_s=1.5
    )
    assert Settings().association_config() == AssociationConfig()
    assert Settings().propagate_config() == PropagateConfig()
    published = Settings(association='mmtracking', min_hits=2).published_config()
    assert (published.rule, published.min_hits) == ('mmtracking', 2)
    model = settings.model_settings()
    assert type(model) is Settings and NodeSettings(**vars(model), depth='raw') == settings
