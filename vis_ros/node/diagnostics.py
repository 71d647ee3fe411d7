"""What /diagnostics says about the node and each of its cameras."""

from __future__ import annotations

import math
from dataclasses import asdict

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vis_ros.node.camera import Camera
from vis_ros.node.throttled_log import LoggedIssue
from vis_ros.tracking.model import Model

RECENT_S = 5.0
"""An error counts for the level of a status for so many seconds."""


def node_status(
    name: str,
    state: str,
    fault: str,
    model: Model | None,
    progress: str = '',
) -> DiagnosticStatus:
    """The status of the node itself: its lifecycle state and the engine that really runs.

    Args:
        name: of the node.
        state: label of its lifecycle state.
        fault: why the last configuration or activation failed, or that the network does not come back; or ''.
        model: None while none is loaded.
        progress: of loading an engine, or ''.
    """
    level, text = DiagnosticStatus.OK, f'{state}: {progress}' if progress else state
    if fault:
        level, text = DiagnosticStatus.ERROR, fault
    elif state != 'active':
        level = DiagnosticStatus.STALE
    values: dict[str, object] = {'state': state}
    engine = None if model is None else model.info  # with its counts of now
    if model is not None and engine is not None:
        values |= {('engine' if key == 'engine' else f'engine {key}'): value for key, value in asdict(engine).items()}
        values['engine warm-up [ms]'] = f'{model.warm_up_ms:.1f}'
        if model.propagation:
            values['propagation'] = model.propagation
    return _status(level, name, text, engine.device if engine else '', values)


def camera_status(name: str, camera: Camera, active: bool, enabled: bool) -> DiagnosticStatus:
    """The status of one camera: is it tracking, how fast, and what was the last complaint."""
    statistics, tracker = camera.statistics, camera.tracker
    rate_in, rate_out = statistics.rates_hz()
    latency, processing = statistics.latency_ms(), statistics.processing_ms()
    level, text = DiagnosticStatus.OK, f'tracking {camera.identities} identities at {rate_out:.1f} Hz'
    complaint = camera.throttled_log.last
    silence = camera.silence() if active else None
    if not active:
        level, text = DiagnosticStatus.STALE, 'inactive: no image is processed'
    elif not enabled:
        level, text = DiagnosticStatus.STALE, 'disabled by ~/enable: images are ignored'
    elif silence is not None:
        level, text = DiagnosticStatus.WARN, silence
    elif complaint is not None and complaint.age_s() < RECENT_S:
        level, text = (DiagnosticStatus.ERROR if complaint.is_error else DiagnosticStatus.WARN), complaint.text
    values: dict[str, object] = {
        'topic': camera.topic,
        'rate in [Hz]': f'{rate_in:.2f}',
        'rate out [Hz]': f'{rate_out:.2f}',
        'latency p50 [ms]': _number(latency[0]),
        'latency p95 [ms]': _number(latency[1]),
        'processing p50 [ms]': _number(processing[0]),
        'processing p95 [ms]': _number(processing[1]),
        'identities': camera.identities,
        'lost objects': tracker.lost,
        'epoch': camera.epoch,
        **({} if camera.depth is None else {'images without depth': camera.depth.missing}),
        **{f'images {key}': value for key, value in asdict(statistics.counts).items()},
        'last complaint': _worded(complaint),
    }
    return _status(level, f'{name}: {camera.name or "camera"}', text, camera.topic, values)


def _worded(complaint: LoggedIssue | None) -> str:
    return 'none' if complaint is None else f'{complaint.text} ({complaint.age_s():.0f} s ago)'


def _number(value: float) -> str:
    return 'unknown' if math.isnan(value) else f'{value:.1f}'


def _status(level: bytes, name: str, text: str, hardware_id: str, values: dict[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id=hardware_id, values=pairs)
