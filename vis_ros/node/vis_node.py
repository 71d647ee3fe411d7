"""VisNode: camera topics in, tracked instance masks out; a managed (lifecycle) node."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from vis_ros.engines.engine import CompilingError, Engine
from vis_ros.engines.propagation_model import PropagationModel
from vis_ros.instances import Instances
from vis_ros.node.camera import Camera
from vis_ros.node.diagnostics import camera_status, node_status
from vis_ros.node.image_subscription import check_transport
from vis_ros.node.library_log import LibraryLog
from vis_ros.node.parameters import changed, check, declare, read, unknown
from vis_ros.node.services import Services
from vis_ros.node.throttled_log import ThrottledLog
from vis_ros.node.transitions import Transitions
from vis_ros.node.views import Views
from vis_ros.node.worker import StallWatch, Worker
from vis_ros.ros.stamps import REGRESSION_TOLERANCE_NS
from vis_ros.ros.vision_msgs import LABEL_INFO, to_label_info
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import NodeSettings

EngineFactory = Callable[..., Engine]
PropagationFactory = Callable[..., PropagationModel]

STOP_TIMEOUT_S = 3.0
"""How long stopping the node waits for the image in flight. `ros2 launch` kills a process after 10 s."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class VisNode(LifecycleNode):
    """Tracks the objects in the images of one or several cameras.

    The way of an image: rclpy calls `Camera.receive`, which wakes the `Worker`. It calls `Camera.read` (decode),
    `Camera.track` (`Tracker.step`) and, in another thread, `Camera.publish`.

    configure loads the model and warms it up, activate subscribes and starts without tracks, deactivate unsubscribes
    and keeps the model loaded, cleanup frees it. On request, configure runs in a thread; see `Transitions`. A
    configuration that fails reports why and can be repeated.

    Args:
        engine_factory: called in place of `load_engine`, see `Model`.
        propagation_factory: called in place of `load_propagation_model`, see `Model`.
    """

    def __init__(
        self,
        engine_factory: EngineFactory | None = None,
        propagation_factory: PropagationFactory | None = None,
        **node_arguments: Any,
    ) -> None:
        super().__init__('vis_node', **node_arguments)
        self.is_loading = False
        """True while the model is being loaded, which may take minutes."""
        self.exit_status = 0
        """Exit status for the process if the node ends by itself."""
        self._factories = engine_factory, propagation_factory
        self._state = 'unconfigured'
        self._fault = ''
        self._model: Model | None = None
        self._cameras: list[Camera] = []
        first_epoch = epoch_of_start()
        self._epochs: defaultdict[str, int] = defaultdict(lambda: first_epoch)
        self._worker: Worker | None = None
        self._views: Views | None = None
        self._left_behind: Worker | None = None
        self._stall_watch = StallWatch(self.get_logger())
        self._log = ThrottledLog(self.get_logger())
        self._library_log = LibraryLog(self.get_logger())

        self._parameter_faults: dict[str, str] = {}
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._parameter_faults.update(declare(self))
        for fault in self._parameter_faults.values():
            self.get_logger().error(fault)
        if ignored := unknown(self):
            self.get_logger().warning(f'not parameters of this node, and ignored: {", ".join(ignored)}')

        self._transitions = Transitions(self)
        self._vis_services = Services(self, lambda: self._cameras, lambda: self._state)
        self._label_info: Any = None
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-REGRESSION_TOLERANCE_NS)),
            post_callback=self._on_clock_jump,
        )
        if read(self).autostart or read(self).build_only:
            # In the executor, so that the node is visible in the graph before it starts loading.
            self._autostart_timer = self.create_timer(
                0.0, self._autostart, callback_group=self._transitions.group, clock=steady
            )

    # --- lifecycle --------------------------------------------------------------------------------------------------

    async def _autostart(self) -> None:
        self._autostart_timer.cancel()
        self.destroy_timer(self._autostart_timer)
        configured = self._state == 'unconfigured' and await self._transitions.configure() is SUCCESS
        if read(self).build_only:
            self.get_logger().info('build_only is set: the node exits')
            self.exit_status = 0 if configured else 1
            self.context.try_shutdown()
        elif configured and self._state == 'inactive':  # unless a lifecycle manager was faster
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
            super().on_deactivate(state)  # otherwise the publishers would stay active
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
        if not self.is_loading:
            self._free()
        self._library_log.close()
        self._jump_handle.unregister()
        super().destroy_node()

    def _attempt(
        self, action: Callable[[], None], state: str, on_failure: Callable[[], None], failed_state: str
    ) -> TransitionCallbackReturn:
        """Run a transition and report its exception, which rclpy would swallow."""
        try:
            action()
        except Exception as error:
            if self.context.ok():  # otherwise the process is ending, which is why it failed
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
        self._raise_if_hanging()
        settings = read(self)
        check_transport(settings.image_transport)
        model = self._model = self._load(settings)
        for name in settings.cameras:
            self._cameras.append(
                Camera(
                    self,
                    name,
                    model.tracker(),
                    model.name,
                    settings,
                    self._end,
                    epoch=self._epochs[name],
                    enabled=self._vis_services.enabled,
                )
            )
        settings = read(self)  # some may have changed while the model was loaded
        for camera in self._cameras:
            camera.configure(settings)
        info = model.info
        self.get_logger().info(
            f'{model.name}: {info.engine}, {info.device}, {info.precision}, {model.warm_up_ms:.0f} ms per image'
        )
        if info.note:
            self.get_logger().warning(info.note)
        self._publish_label_info(model.class_names, settings.score_threshold)

    def _publish_label_info(self, class_names: Sequence[str], threshold: float) -> None:
        """Publish which class is meant by each number, for those who subscribe later too."""
        if LABEL_INFO is None:
            return
        if self._label_info is None:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._label_info = self.create_publisher(LABEL_INFO, '~/label_info', latched)
        header = Header(stamp=self.get_clock().now().to_msg())
        self._label_info.publish(to_label_info(class_names, header, threshold))

    def _load(self, settings: NodeSettings) -> Model:
        self.is_loading = True
        self._library_log.newest = ''
        try:
            model = Model(settings.model_settings(), *self._factories, cameras=len(settings.cameras))
            model.compile_in_background()
            return model
        finally:
            self.is_loading = False

    def _activate(self) -> None:
        self._raise_if_hanging()
        assert self._model is not None
        self._worker = Worker(self._cameras, self._detect, self._model.batch)
        self._views = Views()
        for camera in self._cameras:
            camera.activate(self._worker, self._views)
        self.get_logger().info(f'tracking {", ".join(camera.topic for camera in self._cameras)}')

    def _detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Run the network on a batch. An error is told here: the images then run alone, perhaps without one."""
        assert self._model is not None
        try:
            return self._model.detect(images)
        except CompilingError:
            raise
        except Exception as error:
            text = f'a batch of {len(images)} images failed: {type(error).__name__}: {error}'
            self._log.warn('batch', f'{text}. Its images run one after another, which takes longer')
            raise

    def _end(self, reason: str) -> None:
        """End the process with exit status 1, so that `respawn` of a launch file can start a new one."""
        self.get_logger().fatal(f'{reason}. The node exits')
        self.exit_status = 1
        self.context.try_shutdown()

    def _stop(self) -> None:
        for camera in self._cameras:
            camera.deactivate()
        if self._views is not None:
            self._views.stop(STOP_TIMEOUT_S)
            self._views = None
        if self._worker is None:
            return
        self._worker.stop(STOP_TIMEOUT_S)
        if self._worker.is_running:
            self._left_behind = self._worker
            self.get_logger().error(f'stopped, but {self._left_running} is still running after {STOP_TIMEOUT_S:g} s')
        self._vis_services.reject_pending()
        self._worker = None

    def _free(self) -> None:
        self._stop()
        for camera in self._cameras:
            camera.destroy()
            self._epochs[camera.name] = camera.epoch  # no epoch is used twice
        self._cameras = []
        self._model = None

    @property
    def hangs(self) -> bool:
        """Whether inference or publishing that the node no longer waits for is still running."""
        return self._left_behind is not None and self._left_behind.is_running

    @property
    def _left_running(self) -> str:
        return (self._left_behind and self._left_behind.running) or 'inference'

    def _raise_if_hanging(self) -> None:
        """Two workers must not use one engine."""
        if self.hangs:
            what = self._left_running
            raise ValueError(f'{what} from the previous activation is still running: wait, or restart the node')

    # --- callbacks --------------------------------------------------------------------------------------------------

    def _on_set_parameters(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        result = check(changes, self.is_loading or self._model is not None)
        if result.successful and self._model is not None:
            settings = changed(read(self), changes)
            try:
                for camera in self._cameras:
                    camera.configure(settings)
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
        if result.successful:
            for change in changes:
                self._parameter_faults.pop(change.name, None)
        return result

    def _on_clock_jump(self, jump: TimeJump) -> None:
        seconds = -jump.delta.nanoseconds / 1e9
        if seconds <= 0:
            return  # the source of time has changed, but time did not go back
        now = int(self.get_clock().now().nanoseconds)
        reset = [camera.name or 'camera' for camera in self._cameras if camera.clock_went_back(now)]
        if reset:
            self.get_logger().warning(
                f'the clock jumped back by {seconds:.3f} s: all tracks are deleted ({", ".join(reset)})'
            )

    def _publish_diagnostics(self) -> None:
        name, active = self.get_fully_qualified_name().lstrip('/'), self._state == 'active'
        progress = self._library_log.newest if self.is_loading else ''
        fault = self._fault or self._stall_watch.check(self._worker)
        if not fault and self.hangs:
            fault = f'{self._state}, but {self._left_running} from the previous activation is still running'
        statuses = [node_status(name, self._state, fault, self._model, progress)]
        statuses += [camera_status(name, camera, active) for camera in self._cameras]
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        try:
            self._diagnostics.publish(message)
        except Exception as error:  # the context may be ending; nothing here may end the node
            if self.context.ok():
                self.get_logger().error(f'cannot publish diagnostics: {type(error).__name__}: {error}')


def epoch_of_start() -> int:
    """The epoch before the first one: sixteenths of a second since 1970, so that a restarted node does not reuse the
    epochs of the previous one. Below 2**31, which wraps around after four years.
    """
    return int(16 * time.time()) % 2**31
