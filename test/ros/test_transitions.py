"""Lifecycle transitions as a manager requests them: refused where impossible, and answered while a model is loaded."""

from threading import Event
from types import SimpleNamespace

import pytest
from helpers.rectangles import RectangleEngine
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import Parameter

from vis_ros.node.transitions import Transitions

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
CLEANUP, DEACTIVATE = Transition.TRANSITION_CLEANUP, Transition.TRANSITION_DEACTIVATE


class GatedEngine(RectangleEngine):
    """Is loaded when the gate opens."""

    gate = Event()

    def __init__(self, weights, **arguments):
        assert self.gate.wait(60)
        super().__init__(weights, **arguments)


@pytest.fixture
def gate():
    GatedEngine.gate.clear()
    yield GatedEngine.gate
    GatedEngine.gate.set()


def change(graph, number=0, label=''):
    request = ChangeState.Request(transition=Transition(id=number, label=label))
    return graph.call(ChangeState, '/vis_node/change_state', request).success


def state(graph):
    return graph.call(GetState, '/vis_node/get_state', GetState.Request()).current_state.label


def test_impossible_and_repeated_transitions_are_refused(graph):
    """Without a guard, rclpy of Humble and Jazzy lets an exception end the process."""
    graph.start(active=False)
    for number in (ACTIVATE, DEACTIVATE, CLEANUP, Transition.TRANSITION_CALLBACK_SUCCESS, 123):
        assert not change(graph, number)
    assert not change(graph, label='no such transition')
    assert change(graph, CONFIGURE) and not change(graph, CONFIGURE)
    assert state(graph) == 'inactive'
    assert change(graph, label='activate') and not change(graph, label='activate')
    assert not change(graph, CLEANUP) and state(graph) == 'active'
    assert change(graph, DEACTIVATE) and change(graph, CLEANUP) and state(graph) == 'unconfigured'
    assert graph.logged('transition activate refused: the node is active')


def test_a_loading_node_answers_services_and_refuses_other_transitions(graph, gate):
    node = graph.start(active=False, engine_factory=GatedEngine)
    client = graph.node.create_client(ChangeState, '/vis_node/change_state')
    graph.spin_until(client.service_is_ready)
    configured = client.call_async(ChangeState.Request(transition=Transition(id=CONFIGURE)))
    graph.spin_until(lambda: node.is_loading)
    assert state(graph) == 'configuring'
    for number in (CONFIGURE, ACTIVATE, CLEANUP, Transition.TRANSITION_CALLBACK_SUCCESS):
        assert not change(graph, number)
    answer = graph.call(GetParameters, '/vis_node/get_parameters', GetParameters.Request(names=['model']))
    assert answer.values[0].string_value == 'auto'
    (result,) = node.set_parameters([Parameter('threads', value=2)])
    assert not result.successful and 'unconfigured' in result.reason
    graph.status(lambda status, values: values['state'] == 'configuring', 'vis_node')
    assert not configured.done()
    gate.set()
    graph.spin_until(configured.done)
    assert configured.result().success and state(graph) == 'inactive'


def test_a_class_that_is_set_while_the_model_is_loaded_and_that_it_lacks_fails_the_configuration(graph, gate):
    node = graph.start(active=False, engine_factory=GatedEngine, autostart=True)
    graph.spin_until(lambda: node.is_loading)
    assert node.set_parameters([Parameter('classes', value='car')])[0].successful
    gate.set()
    graph.spin_until(lambda: graph.logged("classes has 'car'"))
    assert state(graph) == 'unconfigured'


def test_a_manager_beside_autostart_disturbs_nothing(graph, gate):
    node = graph.start(active=False, engine_factory=GatedEngine, autostart=True)
    graph.spin_until(lambda: node.is_loading)
    assert not change(graph, CONFIGURE)
    gate.set()
    graph.status(lambda status, values: values['state'] == 'active', 'vis_node')
    assert not change(graph, CONFIGURE) and not change(graph, ACTIVATE)
    assert state(graph) == 'active'


def test_a_failure_to_load_is_the_answer_and_can_be_repeated(graph):
    graph.start(active=False, engine_factory=RectangleEngine, model='feelvos', bridge='feelvos')
    assert not change(graph, CONFIGURE)
    assert state(graph) == 'unconfigured'


class Executor:
    def __init__(self):
        self.woken = Event()

    def wake(self):
        self.woken.set()


def test_the_end_of_a_transition_wakes_the_executor():
    """It looks at what awaits a result only when something wakes it, such as a timer up to a second later."""
    executor, loaded = Executor(), Event()
    transitions = Transitions.__new__(Transitions)
    transitions._node = SimpleNamespace(executor=executor)
    transition = transitions._in_thread(loaded.wait)
    transition.send(None)
    loaded.set()
    assert executor.woken.wait(60)
    with pytest.raises(StopIteration):
        transition.send(None)
