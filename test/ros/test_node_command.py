"""`vis-ros node`, as a process and with the arguments of a user."""

import signal
from dataclasses import fields

import pytest
from rcl_interfaces.srv import GetParameters
from typer.testing import CliRunner

from vis_ros.cli.main import app
from vis_ros.tracking.settings import NodeSettings

COMMAND = ['-m', 'vis_ros.cli', 'node']


def values(graph, *names):
    response = graph.call(GetParameters, '/vis_node/get_parameters', GetParameters.Request(names=list(names)))
    return response.values


def test_ros_arguments_reach_the_node_and_an_interrupt_ends_it(graph, start, tmp_path):
    file = tmp_path / 'vis.yaml'
    file.write_text('vis_node:\n  ros__parameters:\n    min_hits: 7\n    score_threshold: 0.9\n')
    remapping = ['-r', 'image:=/camera/color/image_raw']
    # Later arguments override earlier ones.
    process = start(COMMAND, *remapping, '--params-file', str(file), '-p', 'score_threshold:=0.5', '-p', 'threads:=1')
    graph.spin_until(lambda: graph.node.count_subscribers('/camera/color/image_raw'), 60)
    hits, threshold, threads = values(graph, 'min_hits', 'score_threshold', 'threads')
    assert (hits.integer_value, threshold.double_value, threads.integer_value) == (7, 0.5, 1)
    process.signal(signal.SIGINT)
    process.signal(signal.SIGINT)
    code, output = process.end()
    assert code == 0, output
    assert 'Traceback' not in output and 'Aborted' not in output
    assert 'vis-ros:' not in output, 'a message is printed twice'


def test_exit_status_is_that_of_the_node(start):
    process = start(COMMAND, '-p', 'build_only:=true', '-p', 'weights:=/nowhere/missing.safetensors')
    code, output = process.end(60)
    assert code == 1 and '/nowhere/missing.safetensors' in output and 'Traceback' not in output, output


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['--score-threshold', '0.5'], '--score-threshold'),
        (['--ros-args', '-p', 'threads:=1', '--', 'image.png'], 'image.png'),
        (['--ros-args', '-p', 'threads'], '-p threads'),
        (['--ros-args', '--params-file', '/nowhere/vis.yaml'], '/nowhere/vis.yaml'),
    ],
)
def test_other_arguments_are_an_error_that_names_them(arguments, named):
    result = CliRunner().invoke(app, ['node', *arguments], env={'COLUMNS': '200'})
    assert result.exit_code == 2 and named in result.output


def test_help_shows_an_example_and_every_parameter():
    result = CliRunner().invoke(app, ['node', '--help'], env={'COLUMNS': '200'})
    assert result.exit_code == 0 and '--ros-args -r image:=' in result.output
    words = set(result.output.replace(',', ' ').replace('.', ' ').split())
    assert not [each.name for each in fields(NodeSettings) if each.name not in words]


def test_the_executable_reports_invalid_ros_arguments(start):
    process = start(['-m', 'vis_ros.node'], '-p', 'threads')
    code, output = process.end(60)
    assert code == 1 and '-p threads' in output and 'Traceback' not in output, output
