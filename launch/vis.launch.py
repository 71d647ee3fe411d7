"""Start the instance segmentation node and, on demand, RViz.

ros2 launch vis_ros vis.launch.py image:=/camera/color/image_raw

Every parameter of the node is an argument too: score_threshold:=0.5 bridge:=feelvos cameras:="[front, left]"
"""

import difflib
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from vis_ros.ros.rviz_config import image_topics, resolved, rviz_config, with_fixed_frame
from vis_ros.tracking.params_file import read_params_file
from vis_ros.tracking.settings import NodeSettings, convert, objection, setting, setting_type

RESPAWN_DELAY_S = 1.0
OF_LAUNCH = {'sigterm_timeout', 'sigkill_timeout', 'emulate_tty'}
"""Arguments that launch itself knows."""
OF_REPLAY = {'bag', 'out', 'topic', 'rate', 'loop', 'copy_images'}
"""Those of replay.launch.py, which includes this file."""


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


def check_arguments(context: LaunchContext) -> None:
    """Raise ValueError for an argument on the command line that does not exist: `ros2 launch` would ignore it.

    Does nothing where a launch file of somebody else includes this one: its arguments are not known here.
    """
    started = {Path(each).name for each in sys.argv}
    if not started & {'vis.launch.py', 'replay.launch.py'}:
        return
    known = {*(argument.name for argument in declared_arguments()), *OF_LAUNCH}
    known |= OF_REPLAY if 'replay.launch.py' in started else set()
    for argument in context.argv:
        name = argument.partition(':=')[0]
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise ValueError(
                f'there is no launch argument {name!r}; {f"did you mean {close[0]}?" if close else "see --show-args"}'
            )


def parameter(context: LaunchContext, node: str, name: str) -> Any:
    """The value of a setting: of the launch argument, else of the parameter file, else the default."""
    if text := LaunchConfiguration(name).perform(context):
        return parse({item.name: item for item in fields(NodeSettings)}[name], text)
    values: dict[str, Any] = {}
    with suppress(ValueError):  # the file has nothing for this node, which is not for RViz to report
        values = read_params_file(LaunchConfiguration('params_file').perform(context), node)
    return values.get(name, getattr(NodeSettings(), name))


def write_rviz_config(context: LaunchContext) -> tuple[str, str]:
    """config/vis.rviz for the cameras of the node, in a temporary file; and the image topic of the first camera."""
    value = {
        name: LaunchConfiguration(name).perform(context) for name in ('namespace', 'node_name', 'image', 'fixed_frame')
    }
    node = resolved(value['namespace'], value['node_name'])
    transport = parameter(context, node, 'image_transport')
    images = image_topics(parameter(context, node, 'cameras'), value['image'], value['namespace'], transport)
    template = yaml.safe_load(Path(share('config', 'vis.rviz').perform(context)).read_text(encoding='utf-8'))
    config = rviz_config(template, node, images)
    if value['fixed_frame']:
        config = with_fixed_frame(config, value['fixed_frame'])
    path = Path(tempfile.mkdtemp(prefix='vis_ros_')) / 'vis.rviz'
    path.write_text(yaml.safe_dump(config), encoding='utf-8')
    return str(path), next(iter(images.values()))


def start_rviz(context: LaunchContext) -> list[Node]:
    """RViz, if it is wanted."""
    if LaunchConfiguration('rviz').perform(context) != 'true':
        return []
    try:
        get_package_prefix('rviz2')
    except PackageNotFoundError:
        raise RuntimeError(
            f'rviz:=true needs rviz2, which is not installed: sudo apt install '
            f'ros-{os.environ.get("ROS_DISTRO", "<distribution>")}-rviz2, or leave rviz:=false'
        ) from None
    config, topic = write_rviz_config(context)
    # Without a fixed frame, an executable of this package waits for the first image, whose frame it is.
    is_framed = bool(LaunchConfiguration('fixed_frame').perform(context))
    return [
        Node(
            package='rviz2' if is_framed else 'vis_ros',
            executable='rviz2' if is_framed else 'rviz',
            namespace=LaunchConfiguration('namespace'),
            arguments=['-d', config] if is_framed else [config, topic],
            parameters=[{'use_sim_time': LaunchConfiguration('use_sim_time').perform(context) == 'true'}],
            output='screen',
        )
    ]


def start_node(context: LaunchContext) -> list[Node]:
    """The node. Arguments that were given override the parameter file."""
    check_arguments(context)
    params_file = LaunchConfiguration('params_file').perform(context)
    if not Path(params_file).is_file():  # launch itself would only warn and start the node without it
        raise FileNotFoundError(f'params_file {params_file!r} does not exist')
    image = LaunchConfiguration('image')
    return [
        Node(
            package='vis_ros',
            executable='vis_node',
            name=LaunchConfiguration('node_name'),
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


def declared_arguments() -> list[DeclareLaunchArgument]:
    """All arguments of this launch file."""
    return [
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
        DeclareLaunchArgument('node_name', default_value='vis_node', description='Name of the node.'),
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
            'rviz', default_value='false', choices=['true', 'false'], description='Show cameras and overlays in RViz.'
        ),
        DeclareLaunchArgument(
            'fixed_frame',
            default_value='',
            description='Fixed frame of RViz. Empty: the frame of the first image, for which RViz waits up to 10 s.',
        ),
        *map(declare_parameter, fields(NodeSettings)),
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments of the launch file, and what it starts."""
    return LaunchDescription(
        [
            *declared_arguments(),
            # The node last: if RViz is missing, launch fails before it has started the node.
            OpaqueFunction(function=start_rviz),
            OpaqueFunction(function=start_node),
        ]
    )
