"""Start the instance segmentation node and, on demand, RViz.

ros2 launch vis_ros vis.launch.py image:=/camera/color/image_raw
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Arguments that set the node parameter of the same name. Left empty, they leave the word to the parameter file.
PARAMETERS = {
    'cameras': list[str],
    'model': str,
    'weights': str,
    'propagation_weights': str,
    'start_from': str,
    'depth': str,
    'engine': str,
    'precision': str,
    'threads': int,
    'autostart': bool,
    'use_sim_time': bool,
}

RESPAWN_DELAY_S = 1.0


def share(*path: str) -> PathJoinSubstitution:
    """A file of this package."""
    return PathJoinSubstitution([FindPackageShare('vis_ros'), *path])


def start_node(context: LaunchContext) -> list[Node]:
    """The node, with the arguments that were given laid over the parameter file."""
    params_file = LaunchConfiguration('params_file').perform(context)
    if not Path(params_file).is_file():  # launch itself would only warn, and start the node without it
        raise FileNotFoundError(f'params_file {params_file!r} does not exist')
    given = [name for name in PARAMETERS if LaunchConfiguration(name).perform(context)]
    arguments = {name: ParameterValue(LaunchConfiguration(name), value_type=PARAMETERS[name]) for name in given}
    image = LaunchConfiguration('image')
    return [
        Node(
            package='vis_ros',
            executable='vis_node',
            name='vis_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=[params_file, arguments],
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
    switch = ['', 'true', 'false']
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image',
                default_value='image',
                description='Image topic of the camera; compressed images are taken from <image>/compressed.',
            ),
            DeclareLaunchArgument(
                'depth',
                default_value='',
                description='raw or rectified, as the images are: give objects a position, from the next two topics.',
            ),
            DeclareLaunchArgument(
                'depth_image', default_value='depth', description='Topic of depth that is registered to the image.'
            ),
            DeclareLaunchArgument(
                'camera_info', default_value='camera_info', description='Topic of the calibration of the image.'
            ),
            DeclareLaunchArgument(
                'cameras',
                default_value='',
                description='Several cameras, "[front, left]": each has its image topic below its name and `image` '
                'is not used.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=share('config', 'vis.yaml'),
                description='Parameter file of the node; arguments that are given override it.',
            ),
            DeclareLaunchArgument(
                'model',
                default_value='',
                description='auto, mask_rcnn, masktrack_rcnn; or feelvos, rgmp, pts, maskrnn, which carry masks along.',
            ),
            DeclareLaunchArgument(
                'propagation_weights',
                default_value='',
                description='Path of the weights of a model that carries masks.',
            ),
            DeclareLaunchArgument(
                'start_from',
                default_value='',
                description='How objects begin that are carried along: detections, or service (~/track_object).',
            ),
            DeclareLaunchArgument('weights', default_value='', description='Name or path of the weights.'),
            DeclareLaunchArgument(
                'engine', default_value='', description='What runs the network: auto, tensorrt, openvino, torch.'
            ),
            DeclareLaunchArgument(
                'precision', default_value='', description='Of the network: auto, fp32, fp16, bf16, int8.'
            ),
            DeclareLaunchArgument(
                'threads', default_value='', description='CPU threads of the network; 0: its own choice.'
            ),
            DeclareLaunchArgument(
                'autostart',
                default_value='',
                choices=switch,
                description='Configure and activate the node at once.',
            ),
            DeclareLaunchArgument(
                'use_sim_time', default_value='', choices=switch, description='Take the time from /clock.'
            ),
            DeclareLaunchArgument(
                'rviz', default_value='false', choices=['true', 'false'], description='Show camera and overlay in RViz.'
            ),
            DeclareLaunchArgument(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Least severity that is logged.',
            ),
            DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node.'),
            DeclareLaunchArgument(
                'respawn',
                default_value='false',
                choices=['true', 'false'],
                description='Start the node again whenever its process ends; its identities begin another epoch.',
            ),
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=LaunchConfiguration('namespace'),
                arguments=['-d', share('config', 'vis.rviz')],
                # RViz writes its topics absolute; these bring them into the namespace and to the camera.
                remappings=[
                    ('/image', LaunchConfiguration('image')),
                    *((f'/vis_node/{topic}', f'vis_node/{topic}') for topic in ('overlay', 'markers')),
                ],
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
            # Last: where RViz is missing, nothing has been started yet that would be left behind.
            OpaqueFunction(function=start_node),
        ]
    )
