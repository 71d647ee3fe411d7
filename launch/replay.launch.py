"""Start the instance segmentation node on simulated time, play a recording at it, and end when it is played.

ros2 launch vis_ros replay.launch.py bag:=/data/kitchen out:=/tmp/kitchen weights:=demo

The arguments of vis.launch.py (weights, params_file, cameras, rviz, ...) hold here too.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

# Seconds that launch waits, after Ctrl-C, before it uses more force: the replay first writes down what it has heard.
PATIENCE = {'sigterm_timeout': '60', 'sigkill_timeout': '60'}


def start_replay(context: LaunchContext) -> list[ExecuteProcess]:
    """The replay, with the arguments that were given; everything ends with it."""
    options = ['--node', ['/', LaunchConfiguration('namespace'), '/vis_node']]
    for name in ('out', 'topic', 'rate', 'loop'):
        if LaunchConfiguration(name).perform(context):
            options += [f'--{name}', LaunchConfiguration(name)]
    if LaunchConfiguration('copy_images').perform(context) == 'true':
        options.append('--copy-images')
    return [
        ExecuteProcess(
            cmd=[
                ExecutableInPackage(executable='vis_ros', package='vis_ros'),
                *('replay', LaunchConfiguration('bag'), '--live', *options),
            ],
            name='replay',
            output='screen',
            on_exit=Shutdown(reason='the replay has ended'),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments of the launch file, and what it starts."""
    node = PathJoinSubstitution([FindPackageShare('vis_ros'), 'launch', 'vis.launch.py'])
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='A bag (.mcap, .db3 or folder), a video file or an image folder.'),
            DeclareLaunchArgument(
                'out',
                default_value='',
                description='Folder for the answers and the figures; empty takes `replay` in the working directory.',
            ),
            DeclareLaunchArgument(
                'topic',
                default_value='',
                description='Image topic of the bag; empty takes those that the node listens to, or the only one.',
            ),
            DeclareLaunchArgument('rate', default_value='1.0', description='Play so many times as fast as recorded.'),
            DeclareLaunchArgument('loop', default_value='1', description='Play so many times.'),
            DeclareLaunchArgument(
                'copy_images',
                default_value='false',
                choices=['true', 'false'],
                description='Keep the images in the bag with the answers too.',
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(node), launch_arguments={'use_sim_time': 'true', **PATIENCE}.items()
            ),
            OpaqueFunction(function=start_replay),
        ]
    )
