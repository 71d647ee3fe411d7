"""Twelve hours of images, one every five minutes, with every kind of wrong stamp, and the expected epochs and ids."""

from dataclasses import dataclass

PERIOD_S = 300
START_S = 1_700_000_000
MAX_AGE_S = 900.0

HOUR_AHEAD, YEAR_1970, SET_BACK, LOOP, NO_TIME, SET_FORWARD = 2, 4, 6, 8, 9, 11
"""The hours of the events: one stamp is an hour ahead; one stamp is in 1970; the camera's clock is set back by an hour;
the bag starts again; the driver sends zero stamps for an hour; the camera's clock is set forward by two hours."""


@dataclass(frozen=True)
class Take:
    """One image.

    clock_s: time of the node's clock, which goes back when the bag starts again.
    recorded_s: time of a recorder's clock, which never goes back.
    stamp_s: stamp of the image, 0 if the driver sends none.
    epoch, ids: expected result of the node.
    is_first: whether it is the first image after the clock was set. A replay sees this, because it reads one image
        ahead; the node sees it with the second image.
    """

    clock_s: int
    recorded_s: int
    stamp_s: int
    epoch: int
    ids: tuple[int, ...]
    is_first: bool = False


def twelve_hours() -> list[Take]:
    """The images in order. Both objects are in all of them."""
    takes: list[Take] = []
    offset_s, epoch, ids = 0, 1, (1, 2)
    rewound_s = 0
    per_hour = 3600 // PERIOD_S
    for number in range(12 * per_hour):
        hour, first = divmod(number, per_hour)
        at_s = START_S + number * PERIOD_S
        if (hour, first) == (LOOP, 0):
            rewound_s, offset_s, epoch, ids = hour * 3600, 0, epoch + 1, (1, 2)
        if (hour, first) == (SET_BACK, 0):
            offset_s = -3600
        if (hour, first) == (SET_FORWARD, 0):
            offset_s = 7200
        if (hour, first) == (SET_BACK, 1):  # confirmed
            epoch += 1
        if (hour, first) == (SET_FORWARD, 1):  # both tracks are older than MAX_AGE_S
            ids = (3, 4)
        clock_s = at_s - rewound_s
        stamp_s = clock_s + offset_s
        if first == 0:
            stamp_s = {HOUR_AHEAD: stamp_s + 3600, YEAR_1970: 5}.get(hour, stamp_s)
        if hour == NO_TIME:
            stamp_s = 0
        is_first = first == 0 and hour in (SET_BACK, SET_FORWARD)
        takes.append(Take(clock_s, at_s, stamp_s, epoch, ids, is_first))
    return takes
