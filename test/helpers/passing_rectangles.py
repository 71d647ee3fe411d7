"""Two rectangles that pass each other, and the track ids that they get."""

from helpers.rectangles import BLUE, RED, draw


def ids(array):
    return [instance.track_id for instance in array.instances]


def id_of(array, class_name):
    (found,) = [instance.track_id for instance in array.instances if instance.class_name == class_name]
    return found


def scene(step):
    """A red and a blue rectangle that pass each other."""
    return draw((2 + 4 * step, 4, 12 + 4 * step, 14, RED), (50 - 4 * step, 28, 60 - 4 * step, 40, BLUE))
