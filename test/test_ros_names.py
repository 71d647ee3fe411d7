"""Every name of rclpy, launch and launch_ros that is used exists in ROS 2 Humble, the oldest supported distribution.

Source of the table: the branches `humble` of ros2/rclpy (3.3), ros2/launch (1.0) and ros2/launch_ros (0.19), read in
November 2026. Add a name only after reading it there, and in `jazzy` too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

IN_HUMBLE = {
    'launch': {'LaunchContext', 'LaunchDescription'},
    'launch.actions': {
        *('DeclareLaunchArgument', 'ExecuteProcess', 'IncludeLaunchDescription', 'OpaqueFunction', 'Shutdown'),
    },
    'launch.launch_description_sources': {'PythonLaunchDescriptionSource'},
    'launch.substitutions': {'LaunchConfiguration', 'PathJoinSubstitution'},
    'launch_ros.actions': {'Node'},
    'launch_ros.parameter_descriptions': {'ParameterValue'},
    'launch_ros.substitutions': {'ExecutableInPackage', 'FindPackageShare'},
    'rclpy': {
        *('create_node', 'init', 'ok', 'shutdown', 'spin', 'spin_once', 'spin_until_future_complete', 'try_shutdown'),
    },
    'rclpy.callback_groups': {'ReentrantCallbackGroup'},
    'rclpy.clock': {'Clock', 'ClockType', 'JumpThreshold', 'TimeJump'},
    'rclpy.context': {'Context'},
    'rclpy.duration': {'Duration'},
    'rclpy.exceptions': {'InvalidParameterTypeException', 'InvalidParameterValueException'},
    'rclpy.executors': {'Executor', 'ExternalShutdownException', 'SingleThreadedExecutor'},
    'rclpy.impl.rcutils_logger': {'RcutilsLogger'},
    'rclpy.lifecycle': {'LifecycleNode', 'LifecycleState', 'TransitionCallbackReturn'},
    'rclpy.node': {'Node'},
    'rclpy.parameter': {'Parameter', 'parameter_value_to_python'},
    'rclpy.qos': {
        *(
            'DurabilityPolicy',
            'QoSProfile',
            'ReliabilityPolicy',
            'qos_policy_name_from_kind',
            'qos_profile_sensor_data',
        ),
    },
    'rclpy.qos_event': {'SubscriptionEventCallbacks', 'UnsupportedEventTypeError'},
    'rclpy.qos_overriding_options': {'QoSOverridingOptions'},
    'rclpy.serialization': {'deserialize_message'},
    'rclpy.signals': {'SignalHandlerOptions'},
    'rclpy.subscription': {'Subscription'},
    'rclpy.task': {'Future'},
    'rclpy.utilities': {'remove_ros_args'},
}


def names_used(path: Path) -> dict[str, set[str]]:
    """Module -> names that a file takes from it, without imports that may fail."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    optional = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.Try) and any('ImportError' in ast.dump(each) for each in block.handlers)
        for statement in block.body
        for node in ast.walk(statement)
    }
    used = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').partition('.')[0] in (
            'launch',
            'launch_ros',
            'rclpy',
        ):
            if node not in optional:
                used[node.module or ''] |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == 'rclpy':
            used['rclpy'].add(node.attr)
    return used


def test_names_of_ros_exist_in_humble() -> None:
    missing = [
        f'{path.relative_to(ROOT)}: {module}.{name}'
        for folder in ('vis_ros', 'launch')
        for path in sorted((ROOT / folder).rglob('*.py'))
        for module, names in names_used(path).items()
        for name in sorted(names - IN_HUMBLE.get(module, set()) - {'__file__'})
    ]
    assert missing == []


def test_the_search_sees_what_humble_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / 'example.py'
    path.write_text(
        'from rclpy.clock_type import ClockType\n'
        'try:\n    from rclpy.event_handler import A\nexcept ImportError:\n    from rclpy.qos_event import A\n'
        'rclpy.spin(rclpy.nothing)\n'
    )
    expected = {'rclpy.clock_type': {'ClockType'}, 'rclpy.qos_event': {'A'}, 'rclpy': {'spin', 'nothing'}}
    assert names_used(path) == expected
