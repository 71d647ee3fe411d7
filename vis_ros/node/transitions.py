"""Transitions: lifecycle transitions on request, which keep the executor free and never end the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

T = TypeVar('T')


class Transitions:
    """Answers the service ~/change_state of a lifecycle node.

    `configure` takes long, so it runs in a thread, while the executor answers services and publishes diagnostics. All
    other transitions run in the executor. A transition that is not possible now is refused; rclpy of Humble and Jazzy
    lets its exception end the process.

    group: callbacks in it may wait for a transition; the default group of the node would be blocked meanwhile.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self.group = ReentrantCallbackGroup()
        self._node = node
        self._machine = node._state_machine
        self._in_progress = False
        service: Any = node._service_change_state
        self._change_state: Callable[..., ChangeState.Response] = service.callback
        service.callback, service.callback_group = self._on_change_state, self.group
        self.group.add_entity(service)

    async def configure(self) -> Any:
        """Configure the node. Returns the TransitionCallbackReturn."""
        return await self._in_thread(self._node.trigger_configure)

    async def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        wanted = request.transition
        possible = {} if self._in_progress else {each[1]: each[0] for each in self._machine.available_transitions}
        number = possible.get(wanted.label) if wanted.label else wanted.id
        if number not in possible.values():
            state = self._machine.current_state[1]
            self._node.get_logger().warning(
                f'transition {wanted.label or wanted.id} refused: the node is {state}, where it is not possible'
            )
            response.success = False
            return response
        if number == Transition.TRANSITION_CONFIGURE:
            return await self._in_thread(lambda: self._change_state(request, response))
        return self._change_state(request, response)

    async def _in_thread(self, transition: Callable[[], T]) -> T:
        executor = self._node.executor
        assert executor is not None  # which runs this
        result: Future[T] = Future(executor=executor)

        def run() -> None:
            try:
                result.set_result(transition())
            except Exception as error:
                result.set_exception(error)
            executor.wake()  # it does not notice a result that another thread sets

        self._in_progress = True
        try:
            # A daemon thread, because loading a model must not keep the process alive.
            threading.Thread(target=run, name='vis_transition', daemon=True).start()
            return await result
        finally:
            self._in_progress = False
