"""The parameter file against what the node declares."""

from dataclasses import fields

import pytest
import yaml

from vis_ros.node.parameters import Parameters
from vis_ros.ros.share import share_file
from vis_ros.tracking.association_config import AssociationConfig


@pytest.fixture(scope='module')
def text():
    return share_file('config/vis.yaml').read_text()


def test_the_file_has_every_parameter_with_its_default_and_type(text):
    values = yaml.safe_load(text)['/**']['ros__parameters']
    declared = {item.name: item.default for item in fields(Parameters)}
    declared['cameras'] = list(declared['cameras'])
    assert values == declared
    assert {name: type(value) for name, value in values.items()} == {n: type(v) for n, v in declared.items()}


def test_every_parameter_of_the_file_has_a_comment(text):
    commented = False
    for line in (line.strip() for line in text.splitlines()):
        name = line.partition(':')[0]
        if not line or line.startswith('#'):
            commented = bool(line)
        elif name not in ('/**', 'ros__parameters', 'input_width'):  # which shares the comment of input_height
            assert commented, f'{name} has no comment'
            commented = False


def test_the_node_takes_the_file(graph):
    node = graph.start(active=False, cli_args=['--ros-args', '--params-file', str(share_file('config/vis.yaml'))])
    assert not node._parameter_faults
    assert node.get_parameter('cameras').value == ['']


def test_association_parameters_reach_the_memory():
    parameters = Parameters(association='mmtracking', new_track_score=0.7, max_age_s=1.5, max_identities=9, min_hits=2)
    assert parameters.association_config() == AssociationConfig(
        rule='mmtracking', new_track_score=0.7, max_age_s=1.5, max_identities=9, min_hits=2
    )
    assert Parameters().association_config() == AssociationConfig()


@pytest.mark.parametrize(('height', 'width', 'expected'), [(0, 0, None), (320, 512, (320, 512))])
def test_input_size(height, width, expected):
    assert Parameters(input_height=height, input_width=width).input_size() == expected


@pytest.mark.parametrize(('height', 'width'), [(0, 512), (320, 0)])
def test_half_an_input_size_is_an_error_that_names_both(height, width):
    with pytest.raises(ValueError, match=f'input_height is {height} and input_width is {width}'):
        Parameters(input_height=height, input_width=width).input_size()
