"""A runner of a library without processes, which take a second each to start."""

from functools import partial

from vis_ros.fleet.unit_replay import unit_row


def in_this_process(units, job, on_frame, interrupted):
    for unit in units:
        if interrupted.is_set():
            return
        yield unit, unit_row(unit, job, partial(on_frame, unit))
