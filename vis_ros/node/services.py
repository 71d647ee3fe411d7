"""Services: ~/reset, ~/enable, ~/track_object and ~/forget_object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from vis_ros.node.camera import Camera
from vis_ros.node.object_request import Change, ObjectRequest, RequestResult, forget_change, track_change
from vis_ros.srv import ForgetObject, TrackObject
from vis_ros.tracking.prompts import PromptError

REQUEST_TIMEOUT_S = 10.0
"""A request that the worker has not started after this many seconds is rejected."""


class Services:
    """The services of the node. Requests that change a tracker are passed to the worker and awaited, while the executor
    handles other callbacks.

    Args:
        node: creates the services.
        cameras: returns the current cameras; none while the node is unconfigured.
        state: returns the label of the lifecycle state.

    enabled: what ~/enable was last called with.
    """

    def __init__(self, node: LifecycleNode, cameras: Callable[[], Sequence[Camera]], state: Callable[[], str]) -> None:
        self.enabled = True
        self._node = node
        self._cameras = cameras
        self._state = state
        self._pending: set[ObjectRequest] = set()
        node.create_service(Trigger, '~/reset', self._on_reset)
        node.create_service(SetBool, '~/enable', self._on_enable)
        # The default group runs one callback at a time, and these wait for the worker.
        self._waiting = ReentrantCallbackGroup()
        node.create_service(TrackObject, '~/track_object', self._on_track_object, callback_group=self._waiting)
        node.create_service(ForgetObject, '~/forget_object', self._on_forget_object, callback_group=self._waiting)

    def reject_pending(self) -> None:
        """Reject every request that has no result yet: the worker was stopped."""
        for request in list(self._pending):
            waits = request.try_start()
            request.reject(
                'the node was stopped before the request was processed'
                if waits
                else 'the node was stopped while the network was busy with the request'
            )

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        epochs = [f'{camera.name or "camera"} starts epoch {camera.request_reset()}' for camera in self._cameras()]
        response.success = bool(epochs)
        response.message = ', '.join(epochs) or f'the node is {self._state()}: there are no tracks'
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.enabled = request.data
        for camera in self._cameras():
            camera.enable(self.enabled)
        response.success = True
        response.message = 'images are processed' if self.enabled else 'images are ignored until enabled again'
        return response

    async def _on_track_object(
        self, request: TrackObject.Request, response: TrackObject.Response
    ) -> TrackObject.Response:
        try:
            result = await self._apply(request.camera, track_change(request))
        except PromptError as error:
            result = RequestResult(False, str(error))
        response.success, response.message = result.success, result.message
        response.track_id, response.epoch = result.track_id, result.epoch
        return response

    async def _on_forget_object(
        self, request: ForgetObject.Request, response: ForgetObject.Response
    ) -> ForgetObject.Response:
        result = await self._apply(request.camera, forget_change(request))
        response.success, response.message = result.success, result.message
        return response

    async def _apply(self, name: str, change: Change) -> RequestResult:
        """Have the worker change the tracker of a camera."""
        cameras = {camera.name: camera for camera in self._cameras()}
        if self._state() != 'active':
            return RequestResult(False, f'the node is {self._state()}: activate it first')
        if name not in cameras:
            return RequestResult(False, f'there is no camera {name!r}; {_named(cameras)}')
        executor = self._node.executor
        assert executor is not None  # which runs this callback
        request = ObjectRequest(change, Future(executor=executor), executor.wake)
        if not cameras[name].submit(request):
            return RequestResult(False, 'the node is being stopped')
        self._pending.add(request)

        def time_out() -> None:
            if request.try_start():
                request.reject(
                    f'the network was busy for {REQUEST_TIMEOUT_S:g} s and the request was not processed: try again'
                )

        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        timer = self._node.create_timer(REQUEST_TIMEOUT_S, time_out, callback_group=self._waiting, clock=steady)
        try:
            result = await request.future
        finally:
            self._pending.discard(request)
            self._node.destroy_timer(timer)
        assert result is not None
        return result


def _named(cameras: Iterable[str]) -> str:
    """The names that a request may give, as the end of a sentence."""
    names = list(cameras)
    if names == ['']:
        return 'the only camera has no name: leave camera empty'
    return f'cameras are {", ".join(map(repr, names))}'
