"""The status of the node and of each camera, as published on /diagnostics."""

from __future__ import annotations

import math
from dataclasses import asdict

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vis_ros.node.camera import Camera
from vis_ros.node.throttled_log import LoggedIssue
from vis_ros.tracking.model import Model

RECENT_S = 5.0
"""An issue determines the level of a status for this many seconds."""


def node_status(name: str, state: str, fault: str, model: Model | None, progress: str = '') -> DiagnosticStatus:
    """The status of the node: its lifecycle state, and the engine that really runs.

    Args:
        name: of the node.
        state: label of the lifecycle state.
        fault: why the last configuration or activation failed, or that the network hangs; or ''.
        model: None while none is loaded.
        progress: of loading the model, or ''.
    """
    level, text = DiagnosticStatus.OK, f'{state}: {progress}' if progress else state
    if fault:
        level, text = DiagnosticStatus.ERROR, fault
    elif state != 'active':
        level = DiagnosticStatus.STALE
    if model is None:
        return _status(level, name, text, '', {'state': state})
    engine = model.info  # with its current counters
    values: dict[str, object] = {'state': state}
    values |= {('engine' if key == 'engine' else f'engine {key}'): value for key, value in asdict(engine).items()}
    values['weights SHA-256'] = model.weights_sha256
    values['engine warm-up [ms]'] = f'{model.warm_up_ms:.1f}'
    if model.propagation:
        values['propagation'] = model.propagation
    return _status(level, name, text, engine.device, values)


def camera_status(name: str, camera: Camera, active: bool) -> DiagnosticStatus:
    """The status of one camera: whether it is tracking, how fast, and the last issue.

    Args:
        name: of the node.
        camera: whose status it is.
        active: whether the node is active.
    """
    statistics, issue = camera.statistics, camera.log.last
    rate_in, rate_out = statistics.rates_hz()
    latency, processing, age = statistics.latency_ms(), statistics.processing_ms(), statistics.age_ms()
    silence = camera.images.silence() if active and camera.images is not None else ''
    level, text = DiagnosticStatus.OK, f'{camera.identities} tracks at {rate_out:.1f} Hz'
    if not active:
        level, text = DiagnosticStatus.STALE, 'inactive: images are not processed'
    elif not camera.enabled:
        level, text = DiagnosticStatus.STALE, 'disabled by ~/enable: images are ignored'
    elif silence:
        level, text = DiagnosticStatus.WARN, silence
    elif issue is not None and issue.age_s() < RECENT_S:
        level, text = (DiagnosticStatus.ERROR if issue.is_error else DiagnosticStatus.WARN), issue.text
    values: dict[str, object] = {
        'topic': camera.topic,
        'rate in [Hz]': f'{rate_in:.2f}',
        'rate out [Hz]': f'{rate_out:.2f}',
        'latency p50 [ms]': _number(latency[0]),
        'latency p95 [ms]': _number(latency[1]),
        'waiting p50 [ms]': _number(age[0]),
        'waiting p95 [ms]': _number(age[1]),
        'processing p50 [ms]': _number(processing[0]),
        'processing p95 [ms]': _number(processing[1]),
        'tracks': camera.identities,
        'lost tracks': camera.tracker.lost,
        **camera.tracker.state,
        'epoch': camera.epoch,
        **({} if camera.depth is None else {'images without depth': camera.depth.missing}),
        **{f'images {key}': value for key, value in asdict(statistics.counts).items()},
        'images with wrong stamps': statistics.wrong_stamps,
        'last issue': _issue(issue),
    }
    return _status(level, f'{name}: {camera.name or "camera"}', text, camera.topic, values)


def _issue(issue: LoggedIssue | None) -> str:
    return 'none' if issue is None else f'{issue.text} ({issue.age_s():.0f} s ago)'


def _number(value: float) -> str:
    return 'unknown' if math.isnan(value) else f'{value:.1f}'


def _status(level: bytes, name: str, text: str, hardware_id: str, values: dict[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id=hardware_id, values=pairs)
