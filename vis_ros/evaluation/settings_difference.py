"""The settings in which two runs differ, from the run.json of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOT_SET = '-'
"""In place of a value that one of the runs does not have."""

_NOT_SETTINGS = (
    *('frames', 'frames_of', 'skipped', 'skips', 'warnings', 'left_out', 'inferred', 'stopped_early'),
    *('no_results_json', 'cameras', 'live', 'note', 'settings', 'identity', 'instances', 'tracks', 'results_sha256'),
)
"""Entries of run.json that say what happened, or that are treated apart."""
_NAMES = {'vis_ros': 'version of vis_ros', 'weights_sha256': 'SHA-256 of the weights'}
_LAST = ('vis_ros', 'source', 'date')
_TO_THE_SECOND = len('2026-11-28 14:05:00')
_DIGITS = 12
"""Of a SHA-256."""


@dataclass(frozen=True)
class SettingDifference:
    """A setting and its value in each run, as text."""

    name: str
    a: str
    b: str


def settings_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[SettingDifference, ...]:
    """The settings that differ, then version, source and date if they do.

    Args:
        a, b: contents of run.json; empty for results without one.
    """
    before, after = _flat(a), _flat(b)
    names = sorted({**before, **after}, key=lambda name: _LAST.index(name) + 1 if name in _LAST else 0)
    return tuple(
        SettingDifference(_NAMES.get(name, name), _text(name, before), _text(name, after))
        for name in names
        if before.get(name) != after.get(name)
    )


def settings_known(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """'' if both runs have a run.json, else which one does not."""
    missing = [name for name, run in (('a', a), ('b', b)) if not run]
    return f'The settings of {" and ".join(missing)} are not known: there is no run.json.' if missing else ''


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    settings = run.get('settings')
    own = settings if isinstance(settings, Mapping) else {}
    return {**own, **{name: value for name, value in run.items() if name not in _NOT_SETTINGS}}


def _text(name: str, run: Mapping[str, Any]) -> str:
    value = run.get(name)
    if name not in run or value in (None, ''):
        return NOT_SET
    if name == 'date':
        return str(value).replace('T', ' ')[:_TO_THE_SECOND]
    if name == 'weights_sha256':
        return str(value)[:_DIGITS]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f'{len(value)}: {", ".join(map(str, value[:_DIGITS]))}{", ..." * (len(value) > _DIGITS)}'
    return str(value)
