"""Start the instance segmentation node on simulated time, play a recording at it, and stop at its end.

ros2 launch vis_ros replay.launch.py bag:=/data/kitchen out:=/tmp/kitchen weights:=demo

It also takes the arguments of vis.launch.py (weights, score_threshold, params_file, cameras, rviz ...).
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

# Seconds that launch waits after Ctrl-C before it terminates and kills: the replay writes its results first.
TIMEOUTS = {'sigterm_timeout': '60', 'sigkill_timeout': '60'}


def start_replay(context: LaunchContext) -> list[ExecuteProcess]:
    """The replay, with the arguments that were given. Everything stops when it ends."""
    options = ['--node', ['/', LaunchConfiguration('namespace'), '/', LaunchConfiguration('node_name')]]
    for name in ('out', 'topic', 'rate', 'loop'):
        if LaunchConfiguration(name).perform(context):
            options += [f'--{name}', LaunchConfiguration(name)]
    if LaunchConfiguration('copy_images').perform(context) == 'true':
        options.append('--copy-images')
    return [
        ExecuteProcess(
            cmd=[
                ExecutableInPackage(executable='vis_ros', package='vis_ros'),
                *('replay-live', LaunchConfiguration('bag'), *options),
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
            DeclareLaunchArgument('bag', description='A bag (.mcap, .db3 or folder), a video or a folder of images.'),
            DeclareLaunchArgument(
                'out',
                default_value='',
                description='Folder for results and bag. Empty: `replay` in the working directory.',
            ),
            DeclareLaunchArgument(
                'topic',
                default_value='',
                description='Image topic of the bag. Empty: the topics that the node subscribes to, or the only one.',
            ),
            DeclareLaunchArgument('rate', default_value='1.0', description='Speed of the replay; 1 is as recorded.'),
            DeclareLaunchArgument('loop', default_value='1', description='Play the recording this many times.'),
            DeclareLaunchArgument(
                'copy_images',
                default_value='false',
                choices=['true', 'false'],
                description='Copy the images into the bag with the results.',
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(node), launch_arguments={'use_sim_time': 'true', **TIMEOUTS}.items()
            ),
            OpaqueFunction(function=start_replay),
        ]
    )
