"""The parameters that the node declares against the settings they are made from."""

from dataclasses import fields

from rcl_interfaces.msg import ParameterType

from vis_ros.node.parameters import read
from vis_ros.ros.share import share_file
from vis_ros.tracking.settings import NodeSettings, setting, setting_type

TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    tuple: ParameterType.PARAMETER_STRING_ARRAY,
}


def test_the_node_has_every_setting_as_a_parameter_with_type_default_description_and_range(graph):
    node = graph.start(active=False, autostart=True)
    assert read(node) == NodeSettings()
    for item in fields(NodeSettings):
        described, declared = setting(item), node.describe_parameter(item.name)
        assert declared.type == TYPES[setting_type(item)] and declared.description == described.description
        assert declared.read_only == (described.change == 'at start')
        assert ('unconfigured' in declared.additional_constraints) == (described.change == 'unconfigured')
        assert all(repr(choice) in declared.additional_constraints for choice in described.choices)
        ranges = [(each.from_value, each.to_value) for each in declared.floating_point_range or declared.integer_range]
        assert ranges == ([described.limits] if described.limits else [])


def test_the_node_takes_the_parameter_file(graph):
    node = graph.start(active=False, cli_args=['--ros-args', '--params-file', str(share_file('config/vis.yaml'))])
    assert not node._parameter_faults
    assert read(node) == NodeSettings(autostart=False)
