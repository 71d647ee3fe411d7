"""VisNode: camera topics in, tracked instance masks out; a managed (lifecycle) node."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine
from vis_ros.node.camera import Camera
from vis_ros.node.diagnostics import camera_status, node_status
from vis_ros.node.heartbeat import heartbeat
from vis_ros.node.library_log import LibraryLog
from vis_ros.node.object_request import ObjectRequest, RequestResult, Seconds, forgetting, tracking
from vis_ros.node.parameters import changed, check, declare, read
from vis_ros.node.stall_watch import StallWatch
from vis_ros.node.worker import Worker
from vis_ros.propagation.loading import PropagationModel, load_propagation_model
from vis_ros.ros.environment import prepare_environment
from vis_ros.ros.stamps import REGRESSION_TOLERANCE_NS
from vis_ros.srv import ForgetObject, TrackObject
from vis_ros.tracking.model import Model
from vis_ros.tracking.prompts import PromptError
from vis_ros.tracking.settings import NodeSettings
from vis_ros.tracking.tracker import Tracker

EngineFactory = Callable[..., Engine]
PropagatorsFactory = Callable[..., PropagationModel]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 10.0
"""A request that the worker has not begun after so many seconds is refused."""
STOP_PATIENCE_S = 3.0
"""An image that is in work for longer does not keep the node from being stopped; ros2 launch kills after 10 s."""
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class VisNode(LifecycleNode):
    """Tracks the objects in the images of one or several cameras.

    configure loads and warms up the network, activate subscribes and begins with no identities, deactivate
    unsubscribes and keeps the network warm, cleanup frees it. A configuration that fails says why; it can be repeated.

    Args:
        engine_factory: called as `vis_ros.engines.loading.load_engine` is.
        propagation_factory: called as `load_propagation_model` is, for models that propagate.
    """

    def __init__(
        self,
        engine_factory: EngineFactory = load_engine,
        propagation_factory: PropagatorsFactory = load_propagation_model,
        **node_arguments: Any,
    ) -> None:
        super().__init__('vis_node', **node_arguments)
        self.is_loading = False
        """While an engine is being loaded, which may take long and which nothing but an exception can break off."""
        self.exit_status = 0
        """Of the process, where the node ends by itself."""
        self._engine_factory = engine_factory
        self._propagation_factory = propagation_factory
        self._model: Model | None = None
        self._state = 'unconfigured'
        self._fault = ''
        self._enabled = True
        self._cameras: list[Camera] = []
        first_epoch = epoch_of_start()
        self._epochs: defaultdict[str, int] = defaultdict(lambda: first_epoch)
        self._worker: Worker[Any] | None = None
        self._left_behind: Worker[Any] | None = None
        self._asked: set[ObjectRequest] = set()
        self._stall_watch = StallWatch(self.get_logger())
        self._library_log = LibraryLog(self.get_logger())

        self._parameter_faults: dict[str, str] = {}
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._parameter_faults.update(declare(self))
        for fault in self._parameter_faults.values():
            self.get_logger().error(fault)

        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(SetBool, '~/enable', self._on_enable)
        # A group holds back its other callbacks until one is done, and these wait for the worker.
        self._waiting = ReentrantCallbackGroup()
        self.create_service(TrackObject, '~/track_object', self._on_track_object, callback_group=self._waiting)
        self.create_service(ForgetObject, '~/forget_object', self._on_forget_object, callback_group=self._waiting)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-REGRESSION_TOLERANCE_NS)),
            post_callback=self._on_clock_jump,
        )
        if read(self).autostart or read(self).build_only:
            # After the executor has begun to spin, so that the node answers to whoever waits for it meanwhile.
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    # --- lifecycle --------------------------------------------------------------------------------------------------

    def _autostart(self) -> None:
        self._autostart_timer.cancel()
        self.destroy_timer(self._autostart_timer)
        configured = self._state == 'unconfigured' and self.trigger_configure() is SUCCESS
        if read(self).build_only:
            self.get_logger().info('build_only: the node ends')
            self.exit_status = 0 if configured else 1
            self.context.try_shutdown()
        elif configured:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._state = 'configuring'
        self._publish_diagnostics()
        return self._attempt(self._configure, 'inactive', on_failure=self._free, failed_state='unconfigured')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if super().on_activate(state) is not SUCCESS:
            return FAILURE
        result = self._attempt(self._activate, 'active', on_failure=self._stop, failed_state='inactive')
        if result is not SUCCESS:
            super().on_deactivate(state)  # or publishers would stay open
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._state = 'inactive'
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        self._state = 'unconfigured'
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        self._state = 'finalized'
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        self._state = 'unconfigured'
        return SUCCESS

    def destroy_node(self) -> None:
        self._free()
        self._library_log.close()
        self._jump_handle.unregister()
        super().destroy_node()

    def _attempt(
        self, action: Callable[[], None], state: str, on_failure: Callable[[], None], failed_state: str
    ) -> TransitionCallbackReturn:
        """Run a transition; rclpy itself would swallow an exception without a word."""
        try:
            action()
        except Exception as error:
            if self.context.ok():  # otherwise the process is ending, and that was the reason
                kind = '' if isinstance(error, (ValueError, OSError)) else f'{type(error).__name__}: '
                self._fault = f'cannot become {state}: {kind}{error}'
                self.get_logger().error(self._fault)
                on_failure()
            self._state = failed_state
            return FAILURE
        self._fault = ''
        self._state = state
        return SUCCESS

    def _configure(self) -> None:
        if self._parameter_faults:
            raise ValueError('; '.join(self._parameter_faults.values()))
        self._refuse_while_hanging()
        settings = read(self)
        model = self._model = self._load(settings)
        for name in settings.cameras:
            camera = Camera(
                self, name, model.tracker(), model.class_names, model.name, self._epochs[name], settings.depth
            )
            self._cameras.append(camera)
        self._apply(settings)
        info = model.info
        self.get_logger().info(
            f'{model.name}: {info.engine}, {info.device}, {info.precision}, {model.warm_up_ms:.0f} ms per image'
        )
        if info.note:
            self.get_logger().warning(info.note)

    def _load(self, settings: NodeSettings) -> Model:
        self.is_loading = True
        self._library_log.newest = ''
        try:
            with heartbeat(self._publish_diagnostics):
                return Model(settings.model_settings(), self._engine_factory, self._propagation_factory)
        finally:
            self.is_loading = False

    def _activate(self) -> None:
        self._refuse_while_hanging()
        self._worker = Worker(len(self._cameras), lambda index, message: self._cameras[index].process(message))
        transport = read(self).image_transport
        for index, camera in enumerate(self._cameras):
            camera.subscribe(transport, partial(self._receive, index))
        self.get_logger().info(f'tracking {", ".join(camera.topic for camera in self._cameras)}')

    def _stop(self) -> None:
        for camera in self._cameras:
            camera.unsubscribe()
        if self._worker is None:
            return
        for left in self._worker.stop(STOP_PATIENCE_S):
            if left.claim():
                left.refuse('the node was stopped before it could do it')
        if self._worker.is_running:
            self._left_behind = self._worker
            for asked in list(self._asked):
                asked.refuse('the node was stopped, but the network is still at it')
            self.get_logger().error(f'stopped, but the network is still at an image after {STOP_PATIENCE_S:g} s')
        self._worker = None

    @property
    def hangs(self) -> bool:
        """Whether a network that the node did not wait for is still at work."""
        return self._left_behind is not None and self._left_behind.is_running

    def _refuse_while_hanging(self) -> None:
        """Two workers must not use one engine."""
        if self.hangs:
            raise ValueError('the network is still at an image of before: wait, or restart the node')

    def _free(self) -> None:
        self._stop()
        for camera in self._cameras:
            camera.destroy()
            self._epochs[camera.name] = camera.epoch  # identities of before and after must not share an epoch
        self._cameras = []
        self._model = None

    # --- parameters -------------------------------------------------------------------------------------------------

    def _on_set_parameters(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        result = check(changes, self._model is not None)
        if result.successful and self._model is not None:
            try:
                self._apply(changed(read(self), changes))
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
        if result.successful:
            for change in changes:
                self._parameter_faults.pop(change.name, None)
        return result

    def _apply(self, settings: NodeSettings) -> None:
        """Apply the settings that may change while the node is active. Raises ValueError if one cannot."""
        for camera in self._cameras:
            camera.tracker.configure(settings)
            camera.mask_encoding = settings.mask_encoding

    # --- callbacks --------------------------------------------------------------------------------------------------

    def _receive(self, index: int, message: Any) -> None:
        statistics = self._cameras[index].statistics
        statistics.received()
        if not self._enabled:
            statistics.ignored()
        elif self._worker is not None and self._worker.slots.put(index, message):
            statistics.skipped('dropped')

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = bool(self._cameras)
        epochs = [f'{camera.name or "camera"} begins epoch {camera.request_reset()}' for camera in self._cameras]
        response.message = ', '.join(epochs) or f'the node is {self._state}: there is nothing to forget'
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if not self._enabled and self._worker is not None:
            for index, camera in enumerate(self._cameras):
                if self._worker.slots.discard(index):
                    camera.statistics.ignored()
        response.success = True
        response.message = 'images are processed' if self._enabled else 'images are ignored until enabled again'
        return response

    async def _on_track_object(
        self, request: TrackObject.Request, response: TrackObject.Response
    ) -> TrackObject.Response:
        try:
            answer = await self._ask(request.camera, tracking(request))
        except PromptError as error:
            answer = RequestResult(False, str(error))
        response.success, response.message = answer.success, answer.message
        response.track_id, response.epoch = answer.track_id, answer.epoch
        return response

    async def _on_forget_object(
        self, request: ForgetObject.Request, response: ForgetObject.Response
    ) -> ForgetObject.Response:
        answer = await self._ask(request.camera, forgetting(request))
        response.success, response.message = answer.success, answer.message
        return response

    async def _ask(self, camera: str, act: Callable[[Tracker, Seconds], int]) -> RequestResult:
        """Have the worker do something with the tracker of a camera; the executor goes on meanwhile."""
        names = [each.name for each in self._cameras]
        if self._worker is None:
            return RequestResult(False, f'the node is {self._state}: it tracks nothing')
        if camera not in names:
            return RequestResult(False, f'there is no camera {camera!r}; there are {", ".join(map(repr, names))}')
        request = ObjectRequest(act, Future(executor=self.executor))
        if not self._worker.slots.insist(names.index(camera), request):
            return RequestResult(False, 'the node is being stopped')
        self._asked.add(request)

        def give_up() -> None:
            if request.claim():
                request.refuse(f'the network was busy for {PATIENCE_S:g} s: nothing was done, ask again')

        timer = self.create_timer(
            PATIENCE_S, give_up, callback_group=self._waiting, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        try:
            answer = await request.future
        finally:
            self._asked.discard(request)
            self.destroy_timer(timer)
        assert answer is not None
        return answer

    def _on_clock_jump(self, jump: TimeJump) -> None:
        seconds = -jump.delta.nanoseconds / 1e9
        if seconds <= 0:
            return  # the source of time changed, but it did not go back
        now = int(self.get_clock().now().nanoseconds)
        forgotten = []
        for index, camera in enumerate(self._cameras):
            if self._worker is not None and self._worker.slots.discard(index):
                camera.statistics.skipped('dropped')  # taken before the jump
            if camera.clock_went_back(now):
                forgotten.append(camera.name or 'camera')
        if forgotten:
            self.get_logger().warning(
                f'the clock went back by {seconds:.3f} s: identities are forgotten ({", ".join(forgotten)})'
            )

    def _publish_diagnostics(self) -> None:
        name, active = self.get_fully_qualified_name().lstrip('/'), self._state == 'active'
        progress = self._library_log.newest if self.is_loading else ''
        fault = self._fault or self._stall_watch.look(self._worker, [camera.topic for camera in self._cameras])
        if not fault and self.hangs:
            fault = f'{self._state}, but the network is still at an image of before'
        statuses = [node_status(name, self._state, fault, self._model, progress)]
        statuses += [camera_status(name, camera, active, self._enabled) for camera in self._cameras]
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        try:
            self._diagnostics.publish(message)
        except Exception as error:  # of a context that ends; whatever else, it must not end the node
            if self.context.ok():
                self.get_logger().error(f'no diagnostics: {type(error).__name__}: {error}')


def epoch_of_start() -> int:
    """Of the identities before the first: sixteenths of a second, so that a node that was started again does not give
    out the epochs of the node that it replaces. Below 2**31, which comes around after four years."""
    return int(16 * time.time()) % 2**31


def main(
    args: list[str] | None = None, engine_factory: EngineFactory = load_engine, node_class: type[VisNode] = VisNode
) -> int:
    """Run the node until SIGINT or SIGTERM, of which there may come several; the exit status."""
    prepare_environment()
    node: VisNode | None = None
    started = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # rclpy ends the spinning at a signal, then calls this. Python's own handler would raise KeyboardInterrupt
        # wherever the program happens to be, and at a second signal (`ros2 launch` sends one) during the shutdown.
        if not started:
            raise KeyboardInterrupt
        if node is not None and node.is_loading:
            node.is_loading = False
            raise KeyboardInterrupt

    try:
        for number in _SIGNALS:
            signal.signal(number, interrupt)
        rclpy.init(args=args)
        started = True
    except KeyboardInterrupt:
        return 0
    context = rclpy.get_default_context()
    try:
        node = node_class(engine_factory)
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    except Exception:
        if context.ok():  # else a signal pulled the context from under whatever was being created
            raise
    finally:
        rclpy.try_shutdown()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the interpreter takes its time to end
    if node is not None and node.hangs:
        sys.stdout.flush()
        os._exit(1)  # what hangs would hold the interpreter, or be pulled from under its thread
    return node.exit_status if node is not None else 0


if __name__ == '__main__':
    sys.exit(main())
