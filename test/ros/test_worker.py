"""The worker between the executor and the network."""

import threading
import time
from collections import Counter

import pytest

from vis_ros.node.early_reader import EarlyReader
from vis_ros.node.publishing_thread import PublishingThread
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


# --- fair shares ------------------------------------------------------------------------------------------------------


class CountedStream:
    """A camera on a virtual clock: the time is the number of images that the network has processed. An image replaces
    one that waits.
    """

    def __init__(self, name, period, clock):
        self.topic, self.period, self.clock = name, period, clock
        self.taken = -1
        self.processed = 0

    def _newest(self):
        return int(self.clock.count / self.period)

    def wait_s(self):
        return 0.0 if self._newest() > self.taken and not self.clock.is_over else None

    def read(self):
        self.taken = self._newest()
        return self.taken

    def track(self, image, found):
        self.processed += 1
        self.clock.count += 1

    def serve(self, request):
        raise AssertionError


class VirtualClock:
    def __init__(self, end):
        self.count, self.end = 0, end

    @property
    def is_over(self):
        return self.count >= self.end


def run_to_the_end(clock, streams, **arguments):
    worker = Worker(streams, **arguments)
    for _ in range(3000):
        if clock.is_over:
            break
        worker.wake()
        time.sleep(0.01)
    worker.stop(10)
    assert clock.is_over


def test_ten_cameras_at_unequal_rates_get_equal_shares_of_a_network_that_is_too_slow():
    """They send an image every 2 to 11 images of the network: two and a half times what it can process. Nobody gets
    more than its rate, and what is left is shared evenly.
    """
    clock = VirtualClock(5000)
    streams = [CountedStream(f'/camera_{number}', 2 + number, clock) for number in range(10)]
    run_to_the_end(clock, streams)
    shares = [stream.processed / clock.count for stream in streams]
    # 10 and 11 periods are about a tenth of the network, so all cameras have it busy all the time: a tenth for each.
    assert all(abs(share - 0.1) <= 0.01 for share in shares), shares


def test_a_slow_camera_keeps_its_rate_beside_nine_fast_ones():
    clock = VirtualClock(5000)
    slow = CountedStream('/slow', 40, clock)
    fast = [CountedStream(f'/fast_{number}', 1, clock) for number in range(9)]
    run_to_the_end(clock, [*fast, slow])
    assert abs(slow.processed - 5000 / 40) <= 1
    counts = [stream.processed for stream in fast]
    assert max(counts) - min(counts) <= 2


# --- batches ----------------------------------------------------------------------------------------------------------


class Image:
    def __init__(self, pixels):
        self.pixels = pixels


class PublishingStream(Stream):
    """Notes which detections each image gets, and what is published."""

    def read(self):
        image = super().read()
        return None if image is None else Image(image)

    def track(self, image, found):
        self._do('found', (image.pixels, found))
        return image.pixels

    def publish(self, result):
        self.done.append((self, 'published', result))


@pytest.fixture
def batching():
    """Runs one batch of images, one of each stream that has one; returns what was done, and the batches."""
    started = []

    def run(size, pixels, fails=False):
        done, batches = [], []

        def detect(images):
            batches.append(images)
            if fails:
                raise RuntimeError('one of them is bad')
            return [f'found in {each}' for each in images]

        streams = [PublishingStream(done, f'/{number}') for number in range(len(pixels) + 1)]
        for stream in streams:
            stream.gate.set()
        streams[0].gate.clear()
        worker = Worker(streams, detect, size)
        started.append(worker)
        put(worker, streams[0], 'first')
        assert streams[0].entered.wait(10)  # the network is busy, and meanwhile the others get their images
        for stream, each in zip(streams[1:], pixels, strict=True):
            put(worker, stream, each)
        wanted = 2 * (1 + sum(each is not None for each in pixels))
        finish(streams, wanted)
        return [(stream.topic, kind, item) for stream, kind, item in done if stream is not streams[0]], batches

    yield run
    for worker in started:
        worker.stop(10)


def test_cameras_with_images_share_a_batch_and_the_others_are_not_waited_for(batching):
    done, batches = batching(4, ['a', None, 'b', 'c'])
    assert batches == [['a', 'b', 'c']]
    found = [item for _, kind, item in done if kind == 'found']
    assert found == [('a', 'found in a'), ('b', 'found in b'), ('c', 'found in c')]
    assert [(topic, item) for topic, kind, item in done if kind == 'published'] == [
        ('/1', 'a'),
        ('/3', 'b'),
        ('/4', 'c'),
    ]


def test_a_batch_holds_no_more_images_than_it_may(batching):
    done, batches = batching(2, ['a', 'b', 'c'])
    assert batches == [['a', 'b']]
    assert [item for _, kind, item in done if kind == 'found'][-1] == ('c', None)


def test_images_of_a_batch_that_fails_run_alone(batching):
    done, batches = batching(4, ['a', 'b'], fails=True)
    assert batches == [['a', 'b']]
    assert [item for _, kind, item in done if kind == 'found'] == [('a', None), ('b', None)]


def test_without_batches_each_image_runs_alone(batching):
    done, batches = batching(1, ['a', 'b'])
    assert not batches
    assert [item for _, kind, item in done if kind == 'found'] == [('a', None), ('b', None)]


# --- the threads beside the network -----------------------------------------------------------------------------------


def test_results_are_published_in_order_while_the_network_runs_on():
    """The first result is being published until the network is at the second image; a request waits for both."""
    done, second_in_network = [], threading.Event()

    class Publishing(PublishingStream):
        def track(self, image, found):
            if image.pixels == 'second':
                second_in_network.set()
            return super().track(image, found)

        def publish(self, result):
            if result == 'first':
                assert second_in_network.wait(10)
            super().publish(result)

    streams = [Publishing(done), Publishing(done)]
    for stream in streams:
        stream.gate.set()
    worker = Worker(streams)
    put(worker, streams[0], 'first')
    put(worker, streams[1], 'second')
    assert second_in_network.wait(10)
    worker.submit(streams[0], 'request')
    finish(streams, 5)
    worker.stop(10)
    assert [item for _, kind, item in done if kind != 'found'] == ['first', 'second', 'request']


def test_the_publishing_thread_takes_no_job_before_the_last_is_done():
    thread, gate, done = PublishingThread(), threading.Event(), []
    thread.put(lambda: gate.wait(10) and done.append('first'))
    second = threading.Thread(target=thread.put, args=(lambda: done.append('second'),))
    second.start()
    second.join(0.05)
    assert second.is_alive() and not done
    gate.set()
    second.join(10)
    thread.finish()
    assert done == ['first', 'second']
    thread.stop(10)
    assert not thread.is_running


@pytest.mark.parametrize('hangs', ['network', 'publishing'])
def test_a_worker_that_was_left_behind_ends_once_nothing_hangs_any_more(hangs):
    """It has three results to publish, and a request to serve."""
    hanging, gate, done = threading.Event(), threading.Event(), []

    def wait(where):
        if where == hangs:
            hanging.set()
            assert gate.wait(10)

    class Hanging(PublishingStream):
        def publish(self, result):
            wait('publishing')
            super().publish(result)

    streams = [Hanging(done) for _ in range(3)]
    for number, stream in enumerate(streams):
        stream.gate.set()
        stream.image = number
    worker = Worker(streams, lambda images: wait('network') or images, batch=3)
    assert hanging.wait(10)
    worker.submit(streams[0], 'request')
    worker.stop(0.05)
    assert worker.is_running
    gate.set()
    worker.stop(10)
    assert not worker.is_running and 'request' not in [item for _, _, item in done]


def test_reading_ahead_begins_at_its_time_and_not_once_the_network_is_free():
    reads = []

    def read():
        reads.append(time.monotonic())
        return 'image'

    ahead = EarlyReader(read)
    begin = time.monotonic() + 0.05
    ahead.start_at(begin)
    while not reads:
        time.sleep(0.001)
    assert reads[0] >= begin and ahead.take() == 'image' and ahead.take() is None
    ahead.start_at(time.monotonic() + 1000)
    assert ahead.take() is None  # the worker reads itself: there is nothing left to begin
    ahead.start_at(time.monotonic())
    ahead.stop(10)
    assert len(reads) <= 2


def test_an_image_that_takes_long_to_read_is_read_while_the_network_runs(streams):
    """The network is at the second image of the first stream until the image of the other stream has been read."""
    read_ahead = threading.Event()

    class Slow(Stream):
        def read(self):
            image = super().read()
            time.sleep(0.002)
            if image == 'second':
                put(worker, other, 'ahead')
            if image == 'ahead':
                read_ahead.set()
            return image

        def track(self, image, found):
            if image == 'second':
                assert read_ahead.wait(10)
            super().track(image, found)

    first, other = Slow(streams[0].done), Slow(streams[0].done)
    for stream in (first, other):
        stream.gate.set()
    worker = Worker([first, other])
    put(worker, first, 'first')
    finish([first, other], 1)
    put(worker, other, 'waiting')
    finish([first, other], 2)
    put(worker, first, 'second')
    assert Counter(item for _, _, item in finish([first, other], 4)) == Counter(['first', 'waiting', 'second', 'ahead'])
    worker.stop(10)
