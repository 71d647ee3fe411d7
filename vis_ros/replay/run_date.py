"""The date of a run, for run.json."""

from __future__ import annotations

from datetime import datetime


def run_date() -> str:
    """Now, as ISO 8601 with seconds and time zone: '2026-11-28T14:05:00+01:00'."""
    return datetime.now().astimezone().isoformat(timespec='seconds')
