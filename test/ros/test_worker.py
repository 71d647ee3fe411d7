"""The worker between the executor and the network."""

import threading
import time

import pytest

from vis_ros.node.worker import Worker


class Stream:
    """Records what the worker does with it; its jobs wait while its gate is shut."""

    def __init__(self, done, topic='/image'):
        self.topic = topic
        self.done = done
        self.image = None
        self.entered, self.gate = threading.Event(), threading.Event()

    def wait_s(self):
        return None if self.image is None else 0.0

    def read(self):
        image, self.image = self.image, None
        return image

    def track(self, image, found):
        self._do('image', image)

    def serve(self, request):
        self._do('request', request)

    def _do(self, kind, item):
        self.entered.set()
        assert self.gate.wait(10)
        self.done.append((self, kind, item))


def put(worker, stream, image):
    stream.image = image
    worker.wake()


@pytest.fixture
def streams():
    done = []
    streams = [Stream(done) for _ in range(3)]
    yield streams
    for stream in streams:
        stream.gate.set()


@pytest.fixture
def worker(streams):
    """A worker whose first stream blocks it with an image."""
    worker = Worker(streams)
    put(worker, streams[0], 'first')
    assert streams[0].entered.wait(5)
    yield worker
    for stream in streams:
        stream.gate.set()
    worker.stop(10)


def finish(streams, count):
    """Open all gates and return the jobs done, once there are this many."""
    for stream in streams:
        stream.gate.set()
    done = streams[0].done
    end = threading.Event()
    for _ in range(1000):
        if len(done) >= count:
            break
        end.wait(0.01)
    return [(streams.index(stream), kind, item) for stream, kind, item in done]


def test_streams_take_turns_and_requests_come_first(streams, worker):
    for stream in (streams[2], streams[0], streams[1]):
        put(worker, stream, 'image')
    assert worker.submit(streams[2], 'one') and worker.submit(streams[0], 'two')
    assert finish(streams, 6)[1:] == [
        (2, 'request', 'one'),
        (0, 'request', 'two'),
        (1, 'image', 'image'),
        (2, 'image', 'image'),
        (0, 'image', 'image'),
    ]


def test_a_stream_that_waits_does_not_hold_up_the_others(streams):
    """Its image is processed once the time is over, although nothing wakes the worker then."""
    end = time.monotonic() + 0.3
    streams[0].image = 'patient'
    streams[0].wait_s = lambda: None if streams[0].image is None else end - time.monotonic()
    worker = Worker(streams[:2])
    put(worker, streams[1], 'ready')
    assert finish(streams, 2) == [(1, 'image', 'ready'), (0, 'image', 'patient')]
    assert time.monotonic() >= end
    worker.stop(10)


def test_a_fast_stream_does_not_starve_the_others(streams):
    """The first stream always has a new image."""
    done = streams[0].done

    class Fast(Stream):
        def read(self):
            image = super().read()
            put(worker, self, 'another')
            return image

    fast = Fast(done)
    worker = Worker([fast, *streams[1:]])
    for stream in streams[1:]:
        put(worker, stream, 0)
    put(worker, fast, 0)
    fast.gate.set()
    finish([fast, *streams[1:]], 5)
    worker.stop(10)
    assert streams[1] in [stream for stream, _, _ in done[:5]] and streams[2] in [stream for stream, _, _ in done[:5]]


def test_stop_finishes_the_job_in_flight_and_drops_the_rest(streams, worker):
    put(worker, streams[1], 'dropped')
    worker.submit(streams[1], 'dropped too')
    threading.Timer(0.1, streams[0].gate.set).start()
    worker.stop(10)
    assert not worker.is_running and worker.in_flight is None
    assert [item for _, _, item in streams[0].done] == ['first']
    assert not worker.submit(streams[1], 'too late')
    assert not [thread for thread in threading.enumerate() if thread.name == 'vis_worker']


def test_a_worker_that_hangs_is_left_behind(streams, worker):
    worker.stop(0.05)
    stream, seconds = worker.in_flight
    assert worker.is_running and stream is streams[0] and seconds >= 0.05
    streams[0].gate.set()
    worker.stop(10)
    assert not worker.is_running
