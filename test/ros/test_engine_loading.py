"""Loading an engine: what the node reports meanwhile, and a node that only builds one."""

import logging
import time
from threading import Event

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.processes import REAL_NODE, RECTANGLE_NODE
from helpers.rectangles import RectangleEngine


class ReportingEngine(RectangleEngine):
    """Logs its progress, as building an engine does, and goes on when the test has seen it."""

    reported = Event()

    def __init__(self, weights, **arguments):
        log = logging.getLogger('vis_ros.engines.somewhere')
        for second in (5, 10):
            log.info('building the engine: %d s', second)
            log.debug('layer 17 has a tactic')
        log.warning('a layer is slow')
        while not self.reported.is_set():  # until the executor has published the progress
            time.sleep(0.05)
        assert arguments['accuracy_check'] is False
        super().__init__(weights, **arguments)


def test_progress_is_in_the_log_and_in_the_diagnostics(graph):
    ReportingEngine.reported.clear()
    graph.start(active=False, engine_factory=ReportingEngine, accuracy_check=False, autostart=True)
    graph.spin_until(lambda: graph.logged('a layer is slow'))
    assert len(graph.logged('building the engine')) == 2
    assert not graph.logged('tactic')
    status, _ = graph.status(lambda status, values: status.message == 'configuring: a layer is slow', 'vis_node')
    ReportingEngine.reported.set()
    assert status.level == DiagnosticStatus.STALE
    status, _ = graph.status(lambda status, values: values['state'] == 'active', 'vis_node')
    assert status.message == 'active'


def test_a_destroyed_node_logs_nothing(graph):
    node = graph.start()
    node.destroy_node()
    graph.under_test = None
    assert logging.getLogger('vis_ros').handlers == []


@pytest.mark.parametrize('autostart', ['true', 'false'])
def test_build_only_exits_when_the_engine_is_built(start, autostart):
    process = start(RECTANGLE_NODE, '-p', 'build_only:=true', '-p', f'autostart:={autostart}')
    code, output = process.end()
    assert code == 0, output
    assert 'build_only is set: the node exits' in output
    assert 'Traceback' not in output and 'tracking' not in output


def test_build_only_exits_with_status_1_if_there_is_no_engine(start):
    process = start(REAL_NODE, '-p', 'build_only:=true', '-p', 'weights:=/nowhere/missing.safetensors')
    code, output = process.end(60)
    assert code == 1, output
    assert '/nowhere/missing.safetensors' in output and 'Traceback' not in output
