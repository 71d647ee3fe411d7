"""`vis-ros node`."""

from __future__ import annotations

import logging
import signal
from dataclasses import fields
from typing import Any

import typer

from vis_ros.extras import require_ros
from vis_ros.tracking.settings import NodeSettings, setting


def _parameters_help() -> str:
    """The names of all parameters of the node, one paragraph per group."""
    groups: dict[str, list[str]] = {}
    for each in fields(NodeSettings):
        groups.setdefault(setting(each).group, []).append(each.name)
    return '\n\n'.join(f'Parameters, {group}: {", ".join(names)}.' for group, names in groups.items())


_HELP = f"""Start the ROS node. It takes ROS arguments, as `ros2 run vis_ros vis_node` does.

Example: vis-ros node --ros-args -r image:=/camera/color/image_raw -p score_threshold:=0.5 --params-file vis.yaml

-r renames a topic, -p sets a parameter, --params-file reads parameters from a file. Ctrl-C ends the node.

{_parameters_help()}

doc/node.md and config/vis.yaml describe the parameters and list their defaults.
"""

REGISTRATION: dict[str, Any] = {
    'help': _HELP,
    'options_metavar': '[--ros-args ...]',
    'context_settings': {  # all arguments are passed to ROS as they are
        'allow_extra_args': True,
        'ignore_unknown_options': True,
        'allow_interspersed_args': False,
        'help_option_names': ['-h', '--help'],
    },
}
"""Arguments of `typer.Typer.command` for this command."""


def node(context: typer.Context) -> None:
    """Start the ROS node; see _HELP."""
    require_ros('the node')
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends the process silently
    from vis_ros.node.main import check_arguments, main

    signal.signal(signal.SIGINT, handler)
    try:
        check_arguments(context.args)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    logging.getLogger('vis_ros').propagate = False  # the node logs to ROS
    main(['vis-ros node', *context.args])
