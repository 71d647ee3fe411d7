"""The slots between the executor and the worker."""

import threading

from vis_ros.node.latest_slots import LatestSlots
from vis_ros.node.worker import Worker


def test_only_the_newest_item_is_kept():
    slots = LatestSlots(1)
    assert [slots.put(0, item) for item in 'abc'] == [False, True, True]
    assert slots.take() == (0, 'c')
    assert not slots.put(0, 'd')


def test_streams_are_served_in_turn_however_fast_one_is():
    slots = LatestSlots(3)
    for stream in range(3):
        slots.put(stream, 0)
    served = []
    for item in range(1, 7):
        slots.put(0, item)  # the fast one always has something new
        stream, _ = slots.take()
        served.append(stream)
        if item % 2:
            slots.put(stream, item)
    assert served[:4] == [0, 1, 2, 0]
    assert served.count(0) <= 3


def test_discard_empties_one_stream():
    slots = LatestSlots(2)
    slots.put(0, 'a')
    slots.put(1, 'b')
    assert slots.discard(0) and not slots.discard(0)
    assert slots.take() == (1, 'b')


def test_take_waits_for_an_item_and_ends_with_close():
    slots = LatestSlots(1)
    taken = []
    reader = threading.Thread(target=lambda: taken.extend([slots.take(), slots.take()]))
    reader.start()
    slots.put(0, 'a')
    while not taken and reader.is_alive():
        slots.close()
        reader.join(0.01)
    reader.join(5)
    assert not reader.is_alive() and taken[-1] is None


def test_a_worker_processes_the_newest_and_ends():
    entered, go_on, processed = threading.Event(), threading.Event(), []

    def process(stream, item):
        processed.append(item)
        entered.set()
        go_on.wait(5)

    worker = Worker(1, process)
    worker.slots.put(0, 1)
    assert entered.wait(5)
    for item in (2, 3, 4):
        worker.slots.put(0, item)
    entered.clear()
    go_on.set()
    assert entered.wait(5)
    worker.stop(5)
    assert processed == [1, 4] and not worker.is_running and worker.in_flight is None
    assert not [thread for thread in threading.enumerate() if thread.name == 'vis_worker']


def test_a_worker_that_hangs_is_not_waited_for():
    entered, go_on = threading.Event(), threading.Event()

    def process(stream, item):
        entered.set()
        go_on.wait(30)

    worker = Worker(3, process)
    worker.slots.put(2, 'item')
    assert entered.wait(5)
    worker.slots.insist(1, 'asked for')
    assert worker.stop(0.05) == ['asked for']
    stream, seconds = worker.in_flight
    assert worker.is_running and stream == 2 and seconds >= 0.05
    go_on.set()
    worker.stop(5)
    assert not worker.is_running and worker.in_flight is None
