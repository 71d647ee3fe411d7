"""Start the instance segmentation node and, on demand, RViz.

ros2 launch vis_ros vis.launch.py image:=/camera/color/image_raw

Every parameter of the node is an argument too: score_threshold:=0.5 bridge:=feelvos cameras:="[front, left]"
"""

from contextlib import suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from vis_ros.tracking.settings import NodeSettings, convert, objection, setting, setting_type

RESPAWN_DELAY_S = 1.0


def share(*path: str) -> PathJoinSubstitution:
    """A file of this package."""
    return PathJoinSubstitution([FindPackageShare('vis_ros'), *path])


def declare_parameter(item: Field[Any]) -> DeclareLaunchArgument:
    """The launch argument that sets a parameter of the node. Empty, the value of the parameter file applies."""
    described = setting(item)
    text = described.description
    if described.choices:
        text += f' One of {", ".join(filter(None, described.choices))}.'
    if described.limits is not None:
        text += f' From {described.limits[0]:g} to {described.limits[1]:g}.'
    return DeclareLaunchArgument(item.name, default_value='', description=f'{text} Empty: as in params_file.')


def parse(item: Field[Any], text: str) -> Any:
    """The value of a launch argument. Raises ValueError, which names the argument and what is allowed."""
    value: Any = text
    if setting_type(item) is not str:
        with suppress(yaml.YAMLError):
            value = convert(item, yaml.safe_load(text))
    if reason := objection(item, value):
        raise ValueError(f'launch argument {reason}')
    return value


def given_parameters(context: LaunchContext) -> dict[str, Any]:
    """The parameters whose launch arguments are not empty."""
    parameters: dict[str, Any] = {}
    for item in fields(NodeSettings):
        text = LaunchConfiguration(item.name).perform(context)
        if text:
            value = parse(item, text)
            # With its type, which launch would guess otherwise: the weights '1' are not a number.
            kind = list[str] if isinstance(value, tuple) else type(value)
            parameters[item.name] = ParameterValue(list(value) if isinstance(value, tuple) else value, value_type=kind)
    if sim_time := LaunchConfiguration('use_sim_time').perform(context):
        parameters['use_sim_time'] = ParameterValue(sim_time == 'true', value_type=bool)
    return parameters


def start_node(context: LaunchContext) -> list[Node]:
    """The node. Arguments that were given override the parameter file."""
    params_file = LaunchConfiguration('params_file').perform(context)
    if not Path(params_file).is_file():  # launch itself would only warn and start the node without it
        raise FileNotFoundError(f'params_file {params_file!r} does not exist')
    image = LaunchConfiguration('image')
    return [
        Node(
            package='vis_ros',
            executable='vis_node',
            name='vis_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=[params_file, given_parameters(context)],
            remappings=[
                ('image', image),
                ('image/compressed', [image, '/compressed']),
                ('depth', LaunchConfiguration('depth_image')),
                ('camera_info', LaunchConfiguration('camera_info')),
            ],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
            respawn=LaunchConfiguration('respawn').perform(context) == 'true',
            respawn_delay=RESPAWN_DELAY_S,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments of the launch file, and what it starts."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image',
                default_value='image',
                description='Image topic of the camera; compressed images are taken from <image>/compressed. Not used '
                'with cameras, whose image topics are <name>/image.',
            ),
            DeclareLaunchArgument(
                'depth_image', default_value='depth', description='Topic of depth images registered to the image.'
            ),
            DeclareLaunchArgument(
                'camera_info', default_value='camera_info', description='Topic of the calibration of the camera.'
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=share('config', 'vis.yaml'),
                description='Parameter file of the node. Arguments below override it.',
            ),
            DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node.'),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='',
                choices=['', 'true', 'false'],
                description='Take the time from /clock. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'respawn',
                default_value='false',
                choices=['true', 'false'],
                description='Restart the node whenever its process ends; a new epoch starts with it.',
            ),
            DeclareLaunchArgument(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Minimum severity of log messages.',
            ),
            DeclareLaunchArgument(
                'rviz', default_value='false', choices=['true', 'false'], description='Show camera and overlay in RViz.'
            ),
            *map(declare_parameter, fields(NodeSettings)),
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=LaunchConfiguration('namespace'),
                arguments=['-d', share('config', 'vis.rviz')],
                # The topics in vis.rviz are absolute; these map them to the namespace and to the camera.
                remappings=[
                    ('/image', LaunchConfiguration('image')),
                    *((f'/vis_node/{topic}', f'vis_node/{topic}') for topic in ('overlay', 'markers')),
                ],
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
            # Last: if RViz is missing, launch fails before it has started the node.
            OpaqueFunction(function=start_node),
        ]
    )
